"""A live call as the contact hears it: questions, answers, interruptions, keys, silence."""

from __future__ import annotations

import wave
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.conversation.recording import recording_context
from core.recordings.vault import Vault
from core.recordings.wav import Part, export_wav
from tests.integration.media_doubles import GREETING, TOPIC, YES_OR_NO, World, a_world, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def world(tmp_path: Path, vault: Vault) -> AsyncIterator[World]:
    async with a_world(tmp_path, vault) as made:
        yield made


async def test_a_whole_plan_is_talked_through(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished("How are you?")
        phone.say("pretty good")
        await phone.until_finished("Did you take it?")
        phone.say("the weather is nice")
        await phone.until_finished(YES_OR_NO)
        phone.say("yes i did")
        await phone.until_finished("Which number?")
        phone.say("seven")
        await phone.until_closed()
        assert phone.finished[-2:] == ["Thank you Shivawn.", "Goodbye."]
        assert phone.finished[:3] == GREETING
        assert phone.close_code == 1000
        # Ahead of what is heard, but not by much: what was sent cannot be taken back without `clear`.
        assert 100 <= phone.worst_buffer_ms <= 320
        # Once, when the call is over and nothing may linger.
        assert phone.clears == 0
    await world.until_over()
    conversation = world.conversation()
    assert (conversation.state, conversation.ended_by, conversation.channel) == ("complete", "complete", "voice")
    assert world.answers() == ["pretty good", "yes", "7"]
    said = [(turn.ordinal, turn.checkpoint, turn.said) for turn in world.turns()]
    assert said == [
        (0, "mood", None),
        (1, "mood", "pretty good"),
        (2, "taken", "the weather is nice"),
        (3, "taken", "yes i did"),
        (4, "score", "seven"),
    ]
    assert world.turns()[1].timings["last_reply_heard"] == 3
    assert world.spooled() == []
    assert all(recognition.closed for recognition in world.recognizer.opened)


async def test_both_sides_are_recorded_and_encrypted(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished("How are you?")
        phone.say("stop calling me", ms=400)
        await phone.until_closed()
    await world.until_over()
    parts = lambda: world.store.recording_parts(world.attempt_id)  # noqa: E731
    await until(lambda: bool(parts()) and parts()[0].sealed, "the recording is sealed")
    (part,) = parts()
    file = world.parts.data_dir / part.path
    assert part.seconds is not None
    assert part.seconds == pytest.approx(phone.ticks * 0.02, abs=0.5)
    target = world.folder / "call.wav"
    export_wav([Part(file, recording_context(world.attempt_id, 1), finished=True)], world.parts.vault, target, overwrite=False)
    with wave.open(str(target)) as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (2, 8000)
        samples = memoryview(sound.readframes(sound.getnframes())).cast("h")
    contact, ours = samples[0::2], samples[1::2]
    # Ours speaks first and speaks longer; both are silent at some time.
    spoken = [sum(1 for value in track if abs(value) > 100) / 8000 for track in (contact, ours)]
    assert spoken[0] == pytest.approx(0.4, abs=0.1)
    assert spoken[1] > 1.0
    first = [next(index for index, value in enumerate(track) if abs(value) > 100) for track in (contact, ours)]
    assert first[1] < first[0]


# --- interruptions --------------------------------------------------------------------------------------------------


async def test_sustained_speech_stops_us_at_once_and_is_the_answer(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished("How are you?")
        phone.say("pretty good")
        await phone.until_finished("Did you take it?")
        phone.say("the weather is nice")
        await phone.until_heard(YES_OR_NO)
        phone.say("yes i took it before breakfast", ms=900)
        await until(lambda: phone.clears == 1, "the reply was cut")
        await phone.until_finished("Which number?")
        # Cleared marks came back, and were not taken for a sentence that was heard.
        assert phone.finished.count(YES_OR_NO) <= 1
        assert world.answers()[:2] == ["pretty good", "yes"]


async def test_who_is_calling_is_said_to_the_end(world: World) -> None:
    async with world.call() as phone:
        await phone.until_heard(GREETING[0])
        phone.say("hello hello good morning", ms=700)
        await phone.until_finished("How are you?")
        assert phone.finished[0] == GREETING[0]
        # What was said before the question is no answer to it, but it is kept.
        phone.say("pretty good")
        await phone.until_finished("Did you take it?")
    assert world.answers()[0] == "pretty good"
    assert [turn.said for turn in world.turns()] == [None, "hello hello good morning pretty good"]


async def test_a_reply_interrupted_before_its_question_is_taken_up_again(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished(GREETING[0])
        phone.say("oh it is you again", ms=600)
        await until(lambda: phone.clears == 1, "the greeting was cut")
        await phone.until_finished("How are you?")
        assert phone.finished.count(GREETING[0]) == 1
        assert phone.heard.count(TOPIC) == 2


@pytest.mark.parametrize(("sound", "ms"), [("", 200), ("mhm", 300)])
async def test_a_cough_or_a_mumble_does_not_stop_us(world: World, sound: str, ms: int) -> None:
    async with world.call() as phone:
        await phone.until_finished(GREETING[0])
        phone.say(sound, ms)
        await phone.until_finished("How are you?")
        assert phone.clears == 0
        assert phone.heard == GREETING


async def test_noise_that_stopped_us_twice_is_talked_over(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished(GREETING[0])
        for cut in (1, 2):
            phone.say("", ms=500)
            await until(lambda cut=cut: phone.clears == cut, "the greeting was cut")  # type: ignore[misc]
            await until(lambda cut=cut: phone.heard.count(TOPIC) == cut + 1, "it was taken up again")  # type: ignore[misc]
        phone.say("", ms=500)
        await phone.until_finished("How are you?")
        assert phone.clears == 2


# --- answers that are none ------------------------------------------------------------------------------------------


async def test_silence_is_asked_about_and_then_ends_the_call(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished("How are you?", times=2)
        assert "Are you still there?" in phone.finished
        await phone.until_closed()
        assert phone.finished[-1] == "Goodbye."
    await world.until_over()
    assert (world.conversation().state, world.conversation().ended_by) == ("abandoned", "silence")


async def test_words_that_were_not_understood_are_asked_for_again(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished("How are you?")
        phone.say("", ms=500)
        await phone.until_finished("In a few words?")
        assert "I am sorry, I did not understand that." in phone.finished


async def test_a_recogniser_that_went_deaf_is_replaced_within_the_call(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished("How are you?")
        world.recognizer.opened[-1].dead = True
        for times in (1, 2):
            phone.say("pretty good", ms=400)
            await phone.until_finished("In a few words?", times=times)
        phone.say("pretty good", ms=400)
        await phone.until_finished("Did you take it?")
    assert world.answers()[0] == "pretty good"


async def test_keys_answer(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished("How are you?")
        phone.say("fine thanks")
        await phone.until_finished("Did you take it?")
        await phone.press("1")
        await phone.until_finished("Which number?")
        await phone.press("12")
        await phone.press("#")
        await phone.until_closed()
    await world.until_over()
    assert world.answers() == ["fine thanks", "yes", "12"]
    assert world.turns()[-1].said == "[keys 12#]"
