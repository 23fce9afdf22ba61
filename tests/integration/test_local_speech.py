"""Local speech both ways, with real sound: what eSpeak NG says, PocketSphinx understands, through mu-law."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from core.plans.library import PlanLibrary
from core.plans.model import Plan
from core.settings import CHECKOUT
from core.speech import mulaw
from core.speech.base import FRAME_BYTES, Recognition
from core.speech.local import EspeakSynthesizer, SphinxRecognizer

VOICE = EspeakSynthesizer("en-us+f2", 175)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return PlanLibrary(CHECKOUT / "plans").get("demo-check-in")


@asynccontextmanager
async def listening(plan: Plan) -> AsyncIterator[tuple[SphinxRecognizer, Recognition]]:
    recognizer = SphinxRecognizer(1)
    try:
        yield recognizer, await recognizer.open(plan.all_hints())
    finally:
        await recognizer.close()


def say(recognition: Recognition, text: str) -> None:
    audio = mulaw.silence(300) + VOICE.synthesize(text) + mulaw.silence(700)
    for start in range(0, len(audio) - FRAME_BYTES + 1, FRAME_BYTES):
        recognition.feed(audio[start : start + FRAME_BYTES])


def test_the_phrases_a_plan_expects_are_understood(plan: Plan) -> None:
    phrases = [hint for checkpoint in plan.checkpoints for hint in checkpoint.hints]

    async def understood() -> list[str]:
        async with listening(plan) as (_, recognition):
            wrong = []
            for phrase in phrases:
                say(recognition, phrase)
                heard = await recognition.finish_utterance()
                assert heard.final
                if heard.text != phrase:
                    wrong.append(f"{phrase!r} -> {heard.text!r}")
            return wrong

    wrong = asyncio.run(understood())
    assert len(wrong) <= 0.25 * len(phrases), wrong


def test_a_wish_to_be_left_alone_is_understood(plan: Plan) -> None:
    async def heard() -> str:
        async with listening(plan) as (_, recognition):
            say(recognition, "stop calling me")
            return (await recognition.finish_utterance()).text

    assert asyncio.run(heard()) == "stop calling me"


def test_silence_is_no_words(plan: Plan) -> None:
    async def heard() -> str:
        async with listening(plan) as (_, recognition):
            for _ in range(100):
                recognition.feed(mulaw.silence(20))
            return (await recognition.finish_utterance()).text

    assert asyncio.run(heard()) == ""


def test_calls_share_a_decoder_process_without_hearing_one_another(plan: Plan) -> None:
    async def heard() -> list[str]:
        async with listening(plan) as (recognizer, first):
            second = await recognizer.open(plan.all_hints())
            say(first, "pretty good")
            say(second, "yes please")
            return [(await each.finish_utterance()).text for each in (first, second)]

    assert asyncio.run(heard()) == ["pretty good", "yes please"]


def test_a_decoder_that_dies_costs_the_utterance_and_not_the_next_call(plan: Plan) -> None:
    async def heard() -> tuple[str, str]:
        async with listening(plan) as (recognizer, first):
            (child,) = recognizer._children
            assert child._process is not None
            say(first, "i feel fine")
            os.kill(child._process.pid, signal.SIGKILL)
            lost = (await first.finish_utterance()).text
            second = await recognizer.open(plan.all_hints())
            say(second, "yes please")
            return lost, (await second.finish_utterance()).text

    assert asyncio.run(heard()) == ("", "yes please")


def test_speech_comes_in_chunks_and_stops_when_nobody_listens() -> None:
    async def chunks(wanted: int) -> list[bytes]:
        got = []
        spoken = VOICE.speak(
            "This is a rather long sentence, which nobody wants to hear to its end, and which goes on for quite some time."
        )
        async for chunk in spoken:
            got.append(chunk)
            if len(got) == wanted:
                await spoken.aclose()  # type: ignore[attr-defined]
                break
        return got

    first = asyncio.run(chunks(2))
    whole = asyncio.run(chunks(10_000))
    assert len(first) == 2
    assert 4 < len(b"".join(whole)) / 8000 < 12
    assert mulaw.rms(b"".join(whole)) > 500


def test_text_is_read_and_not_obeyed() -> None:
    plain = VOICE.synthesize("hello")
    marked = VOICE.synthesize("<audio src='x'/> hello")
    assert len(marked) > len(plain)


def test_phonemes_may_be_given_for_a_name() -> None:
    assert VOICE.synthesize("[[Siv'O:n]]") != VOICE.synthesize("Siobhan")
