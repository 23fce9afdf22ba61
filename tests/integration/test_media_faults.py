"""Media streams that lie, stammer, flood or vanish: the call they are about goes on, and so do all the others."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from core.conversation import spool
from core.conversation.orchestrator import OPTED_OUT
from core.recordings.vault import Vault
from core.storage.database import new_id
from tests.integration.media_doubles import GREETING, QUIET, World, a_world, until
from workers.media_server.server import MAX_WAITING
from workers.media_server.stream import MAX_FRAME, MAX_MESSAGE

pytestmark = pytest.mark.anyio

FIRST_WORDS = GREETING[0]
FRAME = base64.b64encode(QUIET).decode()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def world(tmp_path: Path, vault: Vault) -> AsyncIterator[World]:
    async with a_world(tmp_path, vault) as made:
        yield made


def media(payload: Any, **more: Any) -> dict[str, Any]:
    return {"event": "media", "media": {"payload": payload}, **more}


BAD: dict[str, Any] = {
    "no JSON": "{",
    "an empty message": "",
    "a list": "[]",
    "a number": "7",
    "null": "null",
    "deep JSON": "[" * 5000,
    "a lone surrogate": '{"event": "\\ud800"}',
    "no UTF-8 for JSON": b"\xff\xfe\xfd",
    "a binary frame": json.dumps(media(FRAME)).encode(),
    "no event": {},
    "an unknown event": {"event": "dance"},
    "an event of another type": {"event": ["media"]},
    "connected again": {"event": "connected"},
    "a second start": {"event": "start", "start": {"streamSid": "MZ1", "callSid": "CA1", "customParameters": {"token": "x"}}},
    "media of another type": {"event": "media", "media": [FRAME]},
    "no payload": {"event": "media", "media": {}},
    "a payload of another type": media(7),
    "null for a payload": media(None),
    "no base64": media("%%%"),
    "base64 cut short": media(FRAME[:-1]),
    "base64 with spaces": media(" " + FRAME),
    "an empty payload": media(""),
    "a payload of seconds": media(base64.b64encode(QUIET * 51).decode()),
    "another stream's message": media(FRAME, streamSid="MZ" + "f" * 32),
    "a stream id of another type": media(FRAME, streamSid=7),
    "a number that is none": media(FRAME, sequenceNumber="seven"),
    "a number of another type": media(FRAME, sequenceNumber=9),
    "a huge number": media(FRAME, sequenceNumber="9" * 400),
    "a number that was": media(FRAME, sequenceNumber="1"),
    "a number below": media(FRAME, sequenceNumber="0"),
    "no mark": {"event": "mark"},
    "a mark without a name": {"event": "mark", "mark": {}},
    "a mark of another type": {"event": "mark", "mark": {"name": 1}},
    "a mark that was never sent": {"event": "mark", "mark": {"name": "s999"}},
    "no digit": {"event": "dtmf", "dtmf": {}},
    "two digits": {"event": "dtmf", "dtmf": {"digit": "11"}},
    "a digit that no telephone has": {"event": "dtmf", "dtmf": {"digit": "x"}},
    "too long a message": json.dumps({"event": "media", "media": {"payload": "A" * MAX_MESSAGE}}),
}


async def test_each_malformed_message_is_dropped_and_counted_and_the_call_goes_on(world: World) -> None:
    with capture_logs() as logs:
        async with world.call() as phone:
            await phone.until_finished(FIRST_WORDS)
            for number, (what, message) in enumerate(BAD.items(), start=1):
                await phone.send(message)
                await until(lambda n=number: world.server.status()["malformed_messages"] >= n, f"{what} is counted")
                assert world.server.status()["malformed_messages"] == number, what
            assert world.server.live_calls == 1
            await phone.until_finished("How are you?")
            phone.say("pretty good")
            await phone.until_finished("Did you take it?")
            await phone.hang_up()
            await world.until_over()
    (line,) = [line for line in logs if line["event"] == "media.malformed"]
    assert (line["count"], line["last"]) == (len(BAD), "too long")
    assert world.answers()[0] == "pretty good"


async def test_what_comes_after_stop_is_dropped(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished(FIRST_WORDS)
        phone.muted = True
        stop = {"event": "stop", "streamSid": phone.stream_sid, "stop": {"accountSid": "AC1", "callSid": phone.call_sid}}
        for message in (stop, stop, media(FRAME)):
            await phone.send(message)
        await world.until_over()
        assert world.server.status()["malformed_messages"] == 2
    assert world.conversation().ended_by == "hung_up"


async def test_a_frame_beyond_all_measure_ends_its_connection_alone(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished(FIRST_WORDS)
        async with connect(f"ws://127.0.0.1:{world.server.port}/media", close_timeout=1) as other:
            await other.send("x" * (MAX_FRAME + 1))
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(other.recv(), 3)
        await phone.until_finished("How are you?")


async def test_a_message_in_pieces_is_dropped(world: World) -> None:
    async with world.call() as phone:
        await phone.until_finished(FIRST_WORDS)
        await phone._socket.send(iter(['{"event":', '"dtmf"', "}"]))
        await until(lambda: world.server.status()["malformed_messages"] >= 3, "the pieces are counted")
        await phone.until_finished("How are you?")


async def test_sound_is_not_compressed(world: World) -> None:
    """The client offers permessage-deflate, as browsers and carriers do; at 50 frames a second it would only cost."""
    async with connect(f"ws://127.0.0.1:{world.server.port}/media", compression="deflate", close_timeout=1) as socket:
        assert "Sec-WebSocket-Extensions" in socket.request.headers
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


# --- streams without a call -------------------------------------------------------------------------------------------


async def test_a_flood_of_streams_that_say_nothing_keeps_nobody_out(world: World) -> None:
    url = f"ws://127.0.0.1:{world.server.port}/media"
    # Some do not even finish the handshake.
    halves = [await asyncio.open_connection("127.0.0.1", world.server.port) for _ in range(20)]
    for _, writer in halves:
        writer.write(b"GET /media HTTP/1.1\r\nHost: ")
    async with AsyncExitStack() as stack:
        for _ in range(MAX_WAITING + 30):
            await stack.enter_async_context(connect(url, close_timeout=0.1, open_timeout=10))
        status = world.server.status()
        assert status["streams_without_start"] == MAX_WAITING
        assert status["streams_refused"] == 30
        # Who says at once which call it is, is heard at once.
        async with world.call() as phone:
            await phone.until_finished(FIRST_WORDS)
            assert world.server.status()["streams_without_start"] <= MAX_WAITING
            # And the silent ones are gone after their five seconds.
            await until(lambda: world.server.status()["streams_without_start"] == 0, "the silent streams are closed")
            assert world.server.live_calls == 1
    for reader, writer in halves:
        assert await asyncio.wait_for(reader.read(), 6) == b""
        writer.close()


async def test_the_same_token_many_times_at_once_lets_one_in(world: World) -> None:
    token = world.token()
    async with AsyncExitStack() as stack:
        for _ in range(8):
            phone = await stack.enter_async_context(world.stream())
            await phone.start(token)
        await until(lambda: world.server.status()["streams_refused"] == 7, "all but one are refused")
        assert world.server.status()["streams_started"] == 1
        assert world.context().stream_epoch == 1


ODD_TOKENS = ["a.b.c.d", "." * 400, "x.-1.1.y", "x.1.9999999999999999999999.y", "\x00.1.1.\x00", "x.\u0663.\u0663.y", 7, None, ["t"]]


@pytest.mark.parametrize("token", [*ODD_TOKENS, "x." + "9" * 5000 + ".1.y", "x.1.1.\u00e9"])
async def test_tokens_of_any_shape_are_refused_without_a_fault(world: World, token: object) -> None:
    with capture_logs() as logs:
        async with world.stream() as phone:
            await phone.start(None, customParameters={"token": token})
            await phone.until_closed()
            assert phone.close_code == 1008
    assert not [line for line in logs if line["event"] == "media.gate_failed"]


@pytest.mark.parametrize(
    "changed",
    [
        {"streamSid": None},
        {"streamSid": "MZ\n1"},
        {"callSid": "x" * 65},
        {"mediaFormat": {"encoding": "audio/wav", "sampleRate": 8000, "channels": 1}},
        {"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1}},
    ],
)
async def test_a_start_that_is_none_is_refused(world: World, changed: dict[str, Any]) -> None:
    async with world.stream() as phone:
        await phone.start(world.token(), **changed)
        await phone.until_closed()
        assert phone.close_code == 1008
    assert world.context().stream_epoch == 0


# --- nothing is left open, nothing is lost ----------------------------------------------------------------------------


async def test_a_server_that_goes_down_while_it_lets_a_stream_in_leaves_no_tape_open(world: World) -> None:
    """The database is locked by somebody else: the gate's thread still waits when the stream's task is cancelled."""
    recordings = world.parts.data_dir / "recordings"
    with world.database.write():
        phone_stack = AsyncExitStack()
        phone = await phone_stack.enter_async_context(world.stream())
        await phone.start(world.token())
        await until(lambda: world.server.live_calls == 1, "the stream is being let in")
        closing = asyncio.create_task(world.server.close())
        await until(lambda: world.server.live_calls == 0, "its task is cancelled")
    await closing
    await phone_stack.aclose()

    def settled() -> bool:
        return world.context().stream_epoch == 1 and all(_is_whole(world, path) for path in recordings.glob("*.orec"))

    await until(settled, "the token was used up, and the tape closed", lambda: str(list(recordings.glob("*"))))


def _is_whole(world: World, path: Path) -> bool:
    from core.conversation.recording import recording_context
    from core.recordings.sealed_file import open_sealed

    attempt, _, epoch = path.stem.rpartition("-")
    with open_sealed(path, world.parts.vault, recording_context(attempt, int(epoch))) as sealed:
        for _ in sealed:
            pass
        return sealed.complete


async def test_an_opt_out_is_on_disk_before_the_goodbye_is_said(world: World) -> None:
    """SQL does not take it: the words are in the spool all the same, and known to be, before the first sound of the goodbye."""
    folder = world.parts.data_dir / "spool"
    async with world.call() as phone:
        await phone.until_finished("How are you?")
        await until(lambda: world.context().conversation_id is not None, "the greeting is in SQL")
        with world.database.write():
            phone.say("stop calling me")
            await phone.until_heard("I understand.")
            (path,) = folder.glob("*.turns")
            content = spool.read(path, world.parts.vault)
            assert content is not None
            assert content[1][-1].opted_out
            assert spool.pending(folder) == {world.attempt_id}
            assert not world.suppressed()
        await until(world.suppressed, "SQL knows it, too")
        await world.until_over()
    await until(lambda: spool.pending(folder) == frozenset(), "nothing is pending any more")
    assert OPTED_OUT.startswith("I understand.")


async def test_streams_come_and_go_without_anything_left_behind(world: World) -> None:
    """Each way to fail, some times over: afterwards the server holds nothing of them."""
    good, world.attempt_id = world.attempt_id, new_id()
    bad_token = world.token()
    world.attempt_id = good
    openings: list[Callable[[Any], Any]] = [
        lambda phone: phone.start(bad_token),
        lambda phone: phone.send("{"),
        lambda phone: phone.send({"event": "connected"}),
        lambda phone: asyncio.sleep(0),
    ]
    for _ in range(3):
        for opening in openings:
            async with world.stream() as phone:
                await opening(phone)
    await until(lambda: world.server.status()["streams_without_start"] == 0, "no stream waits")
    await until(lambda: world.server.live_calls == 0, "no call is held")
    began = time.monotonic()
    await world.server.close()
    assert time.monotonic() - began < 5
