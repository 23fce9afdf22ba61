"""How live calls end, and what is kept of them: opt-outs, hang-ups, machines, lines that die."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.recordings.vault import Vault
from tests.integration.media_doubles import GREETING, PLAN, World, a_world, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def world(tmp_path: Path, vault: Vault) -> AsyncIterator[World]:
    async with a_world(tmp_path, vault) as made:
        yield made


# --- ends -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["star", "words", "words over the greeting"])
async def test_an_opt_out_holds_at_once(world: World, how: str) -> None:
    async with world.call() as phone:
        await phone.until_heard(GREETING[0])
        if how != "words over the greeting":
            await phone.until_finished("How are you?")
        if how == "star":
            await phone.press("*")
        else:
            phone.say("stop calling me")
        await phone.until_heard("I will not call this number again.")
        await until(world.suppressed, "the number is suppressed before the goodbye is over")
        assert not phone.closed.is_set()
        await phone.until_closed()
        assert phone.finished[-1] == "Goodbye."
    await world.until_over()
    assert world.conversation().ended_by == "opted_out"


async def test_a_hang_up_in_the_middle_keeps_what_was_said(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished("How are you?")
        phone.say("pretty good")
        await phone.until_finished("Did you take it?")
        phone.say("well i wanted to", ms=400)
        await asyncio.sleep(0.2)
        await phone.hang_up()
        await world.until_over()
    assert (world.conversation().state, world.conversation().ended_by) == ("abandoned", "hung_up")
    assert world.turns()[-1].said == "well i wanted to"
    assert world.turns()[-1].reply is None
    state = world.context().state
    assert state is not None
    assert state["checkpoints"][1]["heard"] == ["well i wanted to"]
    assert world.spooled() == []


async def test_a_hang_up_over_the_closing_leaves_the_plan_complete(world: World) -> None:
    async with world.call() as phone:
        for question, answer in (("How are you?", "good"), ("Did you take it?", "no"), ("Which number?", "two")):
            await phone.until_finished(question)
            phone.say(answer)
        await phone.until_heard("Thank you Shivawn.")
        await phone.hang_up()
        await world.until_over()
    assert (world.conversation().state, world.conversation().ended_by) == ("complete", "complete")


@pytest.mark.parametrize("how", ["long greeting", "beep"])
async def test_a_machine_is_left_the_message_of_the_plan(world: World, how: str) -> None:
    async with world.call() as phone:
        await asyncio.sleep(0.1)
        if how == "long greeting":
            phone.say("you have reached", ms=6000)
            await until(lambda: phone.clears >= 1, "we fall silent", seconds=10)
        phone.beep()
        await phone.until_closed()
        assert phone.finished[-1] == "This is Acme for Shivawn."
    await world.until_over()
    assert world.conversation().ended_by == "voicemail"
    assert world.context().answered_by == ("machine_start" if how == "long greeting" else "machine_end_beep")


async def test_a_call_does_not_last_for_ever(world: World) -> None:
    await world.restart(max_call_seconds=1)
    async with world.call() as phone:
        await phone.until_closed()
    await world.until_over()
    assert world.conversation().ended_by == "time_limit"


# --- lines that die -------------------------------------------------------------------------------------------------


async def test_a_broken_stream_leaves_the_conversation_open_and_the_next_one_resumes_it(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished("How are you?")
        phone.say("pretty good")
        await phone.until_heard("Did you take it?")
        phone.cut_the_line()
        await world.until_over()
    assert world.conversation().ended_by is None
    assert world.context().stream_epoch == 1
    async with world.call(epoch=2) as phone:
        await phone.until_finished("Did you take it?")
        assert phone.finished == ["I am sorry, we were cut off.", "Did you take it?"]
        phone.say("yes")
        await phone.until_finished("Which number?")
        phone.say("seven")
        await phone.until_closed()
    await world.until_over()
    assert world.answers() == ["pretty good", "yes", "7"]
    assert [turn.ordinal for turn in world.turns()] == [0, 1, 2, 3, 4]


async def test_a_stream_without_audio_is_given_up_within_five_seconds(world: World) -> None:
    plan = world.folder / "plans" / "talk.yaml"
    plan.write_text(PLAN.replace("silence_seconds: 1", "silence_seconds: 20"))
    async with world.call() as phone:
        await phone.until_finished(GREETING[0])
        phone.muted = True
        began = time.monotonic()
        await world.until_over()
        assert time.monotonic() - began < 5.5
    assert world.conversation().ended_by is None


async def test_marks_that_never_come_back_end_the_stream(world: World) -> None:
    async with world.call() as phone:
        phone.returns_marks = False
        await until(phone.closed.is_set, "the stream was closed", seconds=12)
        assert phone.close_code == 1000
    await world.until_over()
    assert world.conversation().ended_by is None


async def test_an_older_stream_gives_way_to_a_newer_one(world: World) -> None:
    async with world.call() as old:
        await old.until_finished("How are you?")
        async with world.call(epoch=2) as new:
            await new.until_finished("How are you?")
            old.say("pretty good")
            await old.until_closed()
            assert "Did you take it?" not in old.finished
            new.say("not so bad")
            await new.until_finished("Did you take it?")
    await world.until_over()
    assert world.answers()[0] == "not so bad"
    assert [turn.said for turn in world.turns()][1:] == [None, "not so bad"]
    # What the old stream had taken in is kept for a person to look at, and not replayed.
    kept = [f"{world.attempt_id}-1.kept"]
    await until(lambda: world.spooled() == kept, "it is set aside", lambda: str(world.spooled()))
