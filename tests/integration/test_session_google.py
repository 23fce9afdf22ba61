"""A live call whose ears are Google's, and break in the middle of it. The voice is scripted, so that the phone can tell what was said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from core.recordings.vault import Vault
from core.speech.google.access import PlainServer
from core.speech.google.recognizer import GoogleRecognizer
from tests.contract.google_servers import Behaviour, GoogleServer, a_google_server, one_loop
from tests.integration.media_doubles import Lexicon, Phone, ScriptedRecognizer, World, a_world

pytestmark = pytest.mark.anyio

PLAN = """\
name: talk
title: A talk
greeting: Hello, {caller} here, an automated voice.
checkpoints:
  - id: mood
    prompt: How are you?
    complete_when: {kind: any_answer}
    follow_up: In a few words?
  - id: taken
    prompt: Did you take it?
    complete_when: {kind: yes_no}
    follow_up: Yes or no?
closing: Goodbye.
patience_ms: 200
silence_seconds: 2
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def google() -> AsyncIterator[GoogleServer]:
    async with one_loop(), a_google_server() as server:
        yield server


class GoogleEars(ScriptedRecognizer):
    """Google's recogniser; scripted in so far as the world gives it the scripted end of a turn, which needs no real voice."""

    def __init__(self, google: GoogleServer) -> None:
        super().__init__(Lexicon())
        self.ears = GoogleRecognizer(PlainServer(google.address))
        self.warm_up = self.ears.warm_up
        self.open = self.ears.open
        self.close = self.ears.close


@pytest.fixture
async def world(google: GoogleServer, tmp_path: Path, vault: Vault) -> AsyncIterator[World]:
    async with a_world(tmp_path, vault, plan=PLAN, recognizer=GoogleEars(google)) as made:
        yield made


def say(google: GoogleServer, phone: Phone, phrase: str) -> None:
    phone.play(b"".join(google.lexicon.sound(phrase)))


async def test_a_call_is_talked_through_though_its_streams_break(google: GoogleServer, world: World) -> None:
    # The warm-up's stream is over; this is the one of the first answer.
    google.behaviours.append(Behaviour(after=12_000, code=grpc.StatusCode.UNAVAILABLE, message="it broke"))
    async with world.call() as phone:
        await phone.until_finished("How are you?")
        say(google, phone, "pretty good")
        await phone.until_finished("Did you take it?")
        google.otherwise = Behaviour(only_interims=True)
        say(google, phone, "yes i did")
        await phone.until_finished("Goodbye.")
        await phone.until_closed()
    await world.until_over()
    assert world.answers() == ["pretty good", "yes"]
    assert world.conversation().ended_by == "complete"
    assert google.live == 0
