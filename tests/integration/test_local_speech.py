"""Local speech both ways, with real sound: what eSpeak NG says, PocketSphinx understands, through mu-law."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.domain.utterance import asks_to_stop
from core.errors import ProviderError
from core.plans.library import PlanLibrary
from core.plans.model import Plan
from core.settings import CHECKOUT
from core.speech import mulaw
from core.speech.base import FRAME_BYTES, Recognition, Transcript
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
    feed(recognition, VOICE.synthesize(text))


def at_loudness(audio: bytes, factor: float) -> bytes:
    samples = array("h", mulaw.decode(audio))
    return mulaw.encode(array("h", (round(sample * factor) for sample in samples)).tobytes())


def feed(recognition: Recognition, speech: bytes) -> None:
    audio = mulaw.silence(300) + speech + mulaw.silence(700)
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


@pytest.mark.parametrize("loudness", [1.0, 0.1])
def test_the_first_words_of_a_call_are_understood_on_a_loud_line_and_on_a_quiet_one(loudness: float) -> None:
    reflection = PlanLibrary(CHECKOUT / "plans").get("daily-reflection")
    phrases = [hint for checkpoint in reflection.checkpoints for hint in checkpoint.hints]
    voice = EspeakSynthesizer("en-us+f2", 165)

    async def misunderstood() -> list[str]:
        wrong = []
        recognizer = SphinxRecognizer(1)
        try:
            for phrase in phrases:
                # Each a call of its own: nothing has been learnt about the line yet.
                recognition = await recognizer.open(reflection.all_hints())
                feed(recognition, at_loudness(voice.synthesize(phrase), loudness))
                heard = (await recognition.finish_utterance()).text
                await recognition.close()
                if heard != phrase:
                    wrong.append(f"{phrase!r} -> {heard!r}")
        finally:
            await recognizer.close()
        return wrong

    wrong = asyncio.run(misunderstood())
    assert len(wrong) <= 0.15 * len(phrases), wrong


def test_a_voice_in_the_background_does_not_spoil_the_contacts_own(plan: Plan) -> None:
    async def heard() -> str:
        async with listening(plan) as (_, recognition):
            feed(recognition, at_loudness(VOICE.synthesize("the carpenter fixed our kitchen cupboard"), 0.02))
            await recognition.finish_utterance()
            say(recognition, "much better than yesterday")
            return (await recognition.finish_utterance()).text

    assert asyncio.run(heard()) == "much better than yesterday"


def test_answers_joined_by_and_are_understood_together(plan: Plan) -> None:
    async def heard() -> str:
        async with listening(plan) as (_, recognition):
            say(recognition, "yes please and i feel good today")
            return (await recognition.finish_utterance()).text

    assert asyncio.run(heard()) == "yes please and i feel good today"


def test_what_no_plan_expects_is_not_bent_into_what_it_does(plan: Plan) -> None:
    """At most half of these may come out as words at all, and none as a wish to be left alone."""
    strange = (
        "the carpenter fixed our kitchen cupboard",
        "our grandson visited on Saturday",
        "the bus was terribly crowded",
        "she lives in Chicago",
        "I watched a documentary about elephants",
        "let me find a pencil",
    )

    async def heard() -> list[Transcript]:
        async with listening(plan) as (_, recognition):
            transcripts = []
            for sentence in strange:
                say(recognition, sentence)
                transcripts.append(await recognition.finish_utterance())
            return transcripts

    transcripts = asyncio.run(heard())
    assert sum(bool(transcript.text) for transcript in transcripts) <= len(strange) / 2, transcripts
    assert not any(asks_to_stop(transcript.text) for transcript in transcripts)
    assert all(transcript.confidence is not None and transcript.confidence < 1 for transcript in transcripts)


def test_the_words_are_there_when_the_patience_is_over(plan: Plan) -> None:
    """Fed in real time, as a call does: the decoding happens while the contact speaks and during the pause after."""

    async def waited() -> float:
        async with listening(plan) as (_, recognition):
            audio = VOICE.synthesize("i feel good today and much better than yesterday") + mulaw.silence(600)
            loop = asyncio.get_running_loop()
            start = loop.time()
            for number in range(len(audio) // FRAME_BYTES):
                await asyncio.sleep(start + number * 0.02 - loop.time())
                recognition.feed(audio[number * FRAME_BYTES :][:FRAME_BYTES])
            asked = loop.time()
            assert (await recognition.finish_utterance()).text
            return loop.time() - asked

    # 1 ms on a machine with nothing else to do; this one is shared.
    assert asyncio.run(waited()) < 0.3


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


def test_a_decoder_that_dies_says_so_and_the_next_one_hears(plan: Plan) -> None:
    async def heard() -> str:
        async with listening(plan) as (recognizer, first):
            (child,) = recognizer._children
            assert child._process is not None
            say(first, "i feel fine")
            os.kill(child._process.pid, signal.SIGKILL)
            with pytest.raises(ProviderError, match="died") as died:
                await first.finish_utterance()
            assert died.value.retryable
            await first.close()
            second = await recognizer.open(plan.all_hints())
            say(second, "yes please")
            return (await second.finish_utterance()).text

    assert asyncio.run(heard()) == "yes please"


def test_there_is_always_a_free_decoder_process_and_no_more_than_that(plan: Plan) -> None:
    async def seen() -> tuple[list[bool], list[bool], list[int], str]:
        recognizer = SphinxRecognizer(3)
        running = [child.running for child in recognizer._children]
        try:
            await recognizer.warm_up([plan.all_hints()])
            idle = [child.running for child in recognizer._children]
            first = await recognizer.open(plan.all_hints())
            assert recognizer._preparing is not None
            await recognizer._preparing
            running = [child.running for child in recognizer._children]
            second = await recognizer.open(plan.all_hints())
            calls = [len(child.live) for child in recognizer._children]
            say(second, "yes please")
            heard = (await second.finish_utterance()).text
            await asyncio.gather(first.close(), second.close())
            return idle, running, calls, heard
        finally:
            await recognizer.close()

    assert asyncio.run(seen()) == ([True, False, False], [True, True, False], [1, 1, 0], "yes please")


def test_decoders_end_with_the_process_that_started_them() -> None:
    program = """
import asyncio, sys
from core.speech.local import SphinxRecognizer
async def main():
    recognizer = SphinxRecognizer(2)
    await recognizer.warm_up([("yes", "no")])
    await recognizer.open(("yes", "no"))
    await recognizer._preparing
    print(*(child._process.pid for child in recognizer._children), flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(children) == 2
    deadline = time.monotonic() + 10
    while any(_is_decoder(pid) for pid in children):
        assert time.monotonic() < deadline, f"decoders {children} outlive their parent"
        threading.Event().wait(0.05)


def _is_decoder(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"decoder_process" in command


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
