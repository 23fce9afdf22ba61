"""Who may stream, what is dropped, draining, and turns left behind by a dead server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from core.recordings.vault import Vault
from core.storage.database import new_id
from core.storage.tables import Conversation, Turn
from tests.integration.media_doubles import GREETING, QUIET, World, a_world, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def world(tmp_path: Path, vault: Vault) -> AsyncIterator[World]:
    async with a_world(tmp_path, vault) as made:
        yield made


# --- who may stream -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["no token", "nonsense", "other call", "other key", "expired", "epoch ahead", "unknown attempt"])
async def test_a_stream_without_a_good_token_is_refused(world: World, fault: str) -> None:
    if fault == "unknown attempt":
        good, world.attempt_id = world.attempt_id, new_id()
    tokens = {
        "no token": None,
        "nonsense": "x" * 500,
        "other call": world.token(call_sid="CA" + "9" * 32),
        "other key": world.token(key=b"x" * 32),
        "expired": world.token(seconds=-2),
        "epoch ahead": world.token(epoch=2),
        "unknown attempt": world.token(),
    }
    if fault == "unknown attempt":
        world.attempt_id = good
    async with world.stream() as phone:
        await phone.start(tokens[fault])
        await phone.until_closed()
        assert phone.close_code == 1008
        assert phone.heard == []
    assert world.server.status()["streams_refused"] == 1
    assert world.context().stream_epoch == 0
    # The refusal harmed nobody else.
    async with world.call() as phone:
        await phone.until_finished(GREETING[0])


async def test_a_token_is_used_once(world: World) -> None:
    token = world.token()
    async with world.stream() as phone:
        await phone.start(token)
        await phone.until_finished(GREETING[0])
        async with world.stream() as second:
            await second.start(token)
            await second.until_closed()
            assert second.heard == []
        await phone.until_finished("How are you?")


async def test_a_conversation_that_is_over_is_not_begun_again(world: World) -> None:
    async with world.call() as phone:
        await phone.until_heard(GREETING[0])
        await phone.hang_up()
        await world.until_over()
    async with world.call(epoch=2) as phone:
        await phone.until_closed()
        assert phone.heard == []


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "[]",
        "null",
        '"start"',
        b"\x00\x01",
        {"event": "media", "media": {"payload": "AAAA"}},
        {"event": "mark"},
        {"event": "start"},
        {},
    ],
)
async def test_a_stream_that_does_not_begin_with_start_is_refused(world: World, message: str | bytes | dict[str, Any]) -> None:
    async with connect(f"ws://127.0.0.1:{world.server.port}/media", close_timeout=1) as socket:
        await socket.send(json.dumps(message) if isinstance(message, dict) else message)
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(3):
                await socket.recv()
        assert socket.close_code == 1008


async def test_a_stream_that_says_nothing_is_refused_after_five_seconds(world: World) -> None:
    async with connect(f"ws://127.0.0.1:{world.server.port}/media", close_timeout=1) as socket:
        await socket.send(json.dumps({"event": "connected"}))
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(6):
                await socket.recv()
    assert world.server.status()["streams_refused"] == 1


async def test_malformed_messages_are_dropped_and_counted(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished(GREETING[0])
        bad: list[str | bytes | dict[str, Any]] = [
            "{",
            "[]",
            b"\x00",
            "null",
            {"event": "dance"},
            {"event": "media"},
            {"event": "media", "media": {"payload": 7}},
            {"event": "media", "media": {"payload": "%"}},
            {"event": "mark", "mark": {}},
            {"event": "dtmf", "dtmf": {"digit": "11"}},
            {"event": "dtmf"},
            "x" * 5000,
        ]
        for message in bad:
            await phone.send(message)
        await phone.until_finished("How are you?")
        assert world.server.status()["malformed_messages"] == len(bad)
        phone.say("pretty good")
        await phone.until_finished("Did you take it?")


async def test_frames_of_other_lengths_are_put_together(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished("How are you?")
        phone.muted = True
        value = world.lexicon.value_of("pretty good")
        audio = bytes((value,)) * 161 * 20 + QUIET * 20
        for begin in range(0, len(audio), 161):
            payload = base64.b64encode(audio[begin : begin + 161]).decode()
            await phone.send({"event": "media", "streamSid": phone.stream_sid, "media": {"payload": payload}})
            await asyncio.sleep(0.02)
        phone.muted = False
        await phone.until_finished("Did you take it?")
    assert world.answers()[0] == "pretty good"


async def test_health_and_other_paths(world: World) -> None:
    base = f"http://127.0.0.1:{world.server.port}"
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{base}/health")).json() == {"status": "ok", "live_calls": 0, "installation": "0123456789abcdef"}
        assert (await client.get(f"{base}/")).status_code == 404
        world.server.drain()
        assert (await client.get(f"{base}/health")).status_code == 503


async def test_while_draining_live_calls_go_on_and_new_ones_are_turned_away(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished(GREETING[0])
        world.server.drain()
        async with world.stream() as late:
            await late.start(world.token(epoch=2))
            await late.until_closed()
            assert late.close_code == 1001
        assert world.context().stream_epoch == 1
        await phone.until_finished("How are you?")
        assert world.server.live_calls == 1
        await phone.hang_up()
        await world.until_over()


# --- nothing is lost ------------------------------------------------------------------------------------------------


async def test_turns_that_sql_did_not_take_are_replayed_at_the_next_start(world: World) -> None:
    """The database is locked by somebody else while a call goes on and its server dies."""
    async with world.call() as phone:
        await phone.until_finished("How are you?")
        await until(lambda: world.context().conversation_id is not None, "the greeting is in SQL")
        with world.database.write():
            phone.say("pretty good")
            # SQL being slow is not heard.
            await phone.until_finished("Did you take it?")
            phone.say("yes")
            await phone.until_finished("Which number?")
            assert world.answers()[0] is None
            leftovers = [(path.name, path.read_bytes()) for path in (world.parts.data_dir / "spool").glob("*.turns")]
        await phone.hang_up()
        await world.until_over()
    assert len(leftovers) == 1
    assert b"pretty good" not in leftovers[0][1]

    # As a second world, which never saw the turns in SQL.
    await world.server.close()
    with world.database.write() as session:
        conversation = session.scalars(select(Conversation)).one()
        for turn in session.scalars(select(Turn).where(Turn.ordinal > 0)):
            session.delete(turn)
        conversation.ended_by, conversation.ended_at, conversation.state = None, None, "in_progress"
    (world.parts.data_dir / "spool" / leftovers[0][0]).write_bytes(leftovers[0][1] + b"\x00\x00\x01")
    world.server = world.new_server()
    await world.server.start("127.0.0.1", 0)
    assert world.answers() == ["pretty good", "yes", None]
    assert [turn.said for turn in world.turns()] == [None, "pretty good", "yes"]
    assert world.spooled() == []
