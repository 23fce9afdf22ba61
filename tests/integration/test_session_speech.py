"""A call with real sound both ways: eSpeak NG speaks for both sides, PocketSphinx hears, WebRTC's detector ends turns."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from core.recordings.vault import Vault
from core.settings import CHECKOUT
from core.speech.base import Synthesizer
from tests.integration.media_doubles import Phone, World, a_world, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

SHIPPED = CHECKOUT / "plans"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path, vault: Vault) -> AsyncIterator[World]:
    missing = [name for name in ("pocketsphinx", "webrtcvad", "espeakng_loader") if find_spec(name) is None]
    if missing:
        reason = f"local speech is not installed ({', '.join(missing)}): install the extra local-speech"
        if request.config.getoption("--require-all"):
            pytest.fail(reason)
        pytest.skip(reason)
    from core.speech.local import EspeakSynthesizer, SphinxRecognizer

    plan = (SHIPPED / f"{request.param}.yaml").read_text().replace(f"name: {request.param}", "name: talk")
    async with a_world(
        tmp_path, vault, plan=plan, recognizer=SphinxRecognizer(processes=1), synthesizer=TellingSynthesizer(EspeakSynthesizer())
    ) as made:
        yield made


class TellingSynthesizer:
    """Passes sentences on, and remembers them."""

    def __init__(self, voice: Synthesizer) -> None:
        self._voice = voice
        self.said: list[str] = []

    def warm_up(self) -> None:
        self._voice.warm_up()

    def speak(self, text: str) -> AsyncIterator[bytes]:
        self.said.append(text)
        return self._voice.speak(text)

    async def close(self) -> None:
        await self._voice.close()


async def converse(world: World, phone: Phone, answers: dict[str, str]) -> None:
    """Answer each question half a second after it was asked, again if asked again, in another voice than orch's."""
    from core.speech.local import EspeakSynthesizer

    voice, told = EspeakSynthesizer("en-us+f2", 150), world.parts.synthesizer
    assert isinstance(told, TellingSynthesizer)
    told.said.clear()
    answered = 0

    def asked() -> bool:
        # One mark a sentence: what was played is the beginning of what was said.
        return phone.closed.is_set() or answered < len(told.said) == len(phone.finished)

    while not phone.closed.is_set():
        await until(asked, "the next question", lambda: f"{len(phone.finished)} of {told.said}", seconds=40)
        answered = len(told.said)
        words = next((words for question, words in answers.items() if answered and question in told.said[-1]), None)
        if words is not None:
            phone.play(b"\xff" * 4000 + voice.synthesize(words))


@pytest.mark.parametrize("world", ["demo-check-in"], indirect=True)
async def test_the_demo_plan_is_talked_through(world: World) -> None:
    began = time.monotonic()
    async with world.call() as phone:
        await converse(world, phone, {"How are you today?": "i feel good today", "again tomorrow?": "yes please"})
        assert phone.clears == 0
    await world.until_over()
    assert time.monotonic() - began < 60
    assert world.conversation().ended_by == "complete"
    assert world.answers() == ["i feel good today", "yes"]


@pytest.mark.parametrize("world", ["medication-check-in"], indirect=True)
async def test_an_opt_out_is_heard(world: World) -> None:
    async with world.call() as phone:
        await converse(world, phone, {"medication today?": "stop calling me"})
        assert world.suppressed()
    await world.until_over()
    assert world.conversation().ended_by == "opted_out"
