"""One media stream, Twilio's end: a websocket client that sends 20 ms frames in real time and plays what comes back.

Source: docs/voice/media-streams/websocket-messages; error pages 31901-31951.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import socket as sockets
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from core.speech.base import FRAME_MS
from core.telephony.signature import SIGNATURE_HEADER, signature_of
from workers.phone_simulator.callee import Callee, Moment
from workers.phone_simulator.ledger import Fields
from workers.phone_simulator.ledger_writer import LedgerWriter
from workers.phone_simulator.playback import Playback
from workers.phone_simulator.stream_messages import Clear, InvalidMessageError, Mark, Media, read_message
from workers.phone_simulator.verbs import Stream
from workers.phone_simulator.weather import StreamTrouble, StreamWeather

_CONNECT_SECONDS = 5
_SEND_SECONDS = 10
_CLOSE_SECONDS = 2
_MOST_WARNINGS = 20

StatusCallback = Callable[[str, str, str, Fields], Awaitable[object]]  # purpose, url, method, fields
HeardBoth = Callable[[bytes, bytes], None]  # 20 ms of the callee, and of what he was played


class _BadUrlError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    # ws:// is for the simulator alone: the real Twilio insists on wss://.
    if parts.scheme not in {"ws", "wss"}:
        raise _BadUrlError(31922, f"the scheme is {parts.scheme or 'missing'}, not wss")
    if not parts.hostname:
        raise _BadUrlError(31923, "the URL names no host")
    if parts.query:
        raise _BadUrlError(31920, "the URL has a query string, which Twilio does not support")


class StreamEnd(StrEnum):
    """How a stream ended, seen from the network."""

    CLOSED = "closed"  # our side sent a close frame: the next verb runs
    BROKEN = "broken"  # the connection ended without one, or was never made
    HUNG_UP = "hung_up"  # the callee


@dataclass(frozen=True, slots=True)
class StreamCall:
    """The call that a stream belongs to."""

    sid: str
    account_sid: str
    auth_token: str


class MediaStream:
    def __init__(
        self,
        call: StreamCall,
        verb: Stream,
        callee: Callee,
        ledger: LedgerWriter,
        session: aiohttp.ClientSession,
        callback: StatusCallback,
        weather: StreamWeather,
        recorded: HeardBoth,
    ) -> None:
        self.sid = "MZ" + uuid.uuid4().hex
        self._call = call
        self._verb = verb
        self._callee = callee
        self._ledger = ledger
        self._session = session
        self._callback = callback
        self._playback = Playback()
        self._sequence = 0
        self._chunk = 0
        self._warnings = 0
        self._problem = ""
        self._weather = weather
        self._recorded = recorded
        self._trouble_begun = False
        self._drop_next = False

    async def run(self) -> StreamEnd:
        """Until either side ends it. Cancelled when the network ends the call: our side is then told with `stop`, too."""
        socket = await self._connect()
        if socket is None:
            await self._tell("stream-error")
            return StreamEnd.BROKEN
        self._record("connected")
        await self._tell("stream-started")
        end: StreamEnd | None = None
        try:
            end = await self._converse(socket)
        finally:
            if end is not StreamEnd.CLOSED and end is not StreamEnd.BROKEN:
                await self._stop(socket)
            if self._is_mute:
                _cut(socket)
            with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await socket.close()
            self._record("ended", end=str(end or "call_ended"), frames=self._chunk, unplayed_bytes=self._playback.waiting)
            if end is not None:
                await self._tell("stream-error" if self._problem else "stream-stopped")
        return end

    async def _connect(self) -> aiohttp.ClientWebSocketResponse | None:
        if self._weather.trouble is StreamTrouble.REFUSED:
            self._begin_trouble()
            self._not_connected(31920, "the server did not take the connection")
            return None
        try:
            _check_url(self._verb.url)
            async with asyncio.timeout(_CONNECT_SECONDS):
                return await self._session.ws_connect(
                    self._verb.url,
                    headers={SIGNATURE_HEADER: signature_of(self._call.auth_token, self._verb.url, [])},
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                )
        except _BadUrlError as error:
            self._not_connected(error.code, str(error))
        except TimeoutError:
            self._not_connected(31901, f"not connected within {_CONNECT_SECONDS} s")
        except aiohttp.WSServerHandshakeError as error:
            self._not_connected(31920, f"the server answered {error.status}, not 101")
        except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError) as error:
            self._not_connected(31910, f"TLS: {error}")
        except aiohttp.InvalidURL:
            self._not_connected(31923, "the URL is malformed")
        except (aiohttp.ClientError, OSError) as error:
            self._not_connected(31902, f"not connected: {error}")
        return None

    def _not_connected(self, code: int, text: str) -> None:
        self._problem = text
        self._warn(code, text)

    async def _converse(self, socket: aiohttp.ClientWebSocketResponse) -> StreamEnd:
        await self._send_text(socket, {"event": "connected", "protocol": "Call", "version": "1.0.0"})
        await self._send(
            socket,
            "start",
            {
                "accountSid": self._call.account_sid,
                "streamSid": self.sid,
                "callSid": self._call.sid,
                "tracks": ["inbound"],
                "customParameters": dict(self._verb.parameters),
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            },
        )
        speaking = asyncio.create_task(self._speak(socket))
        hearing = asyncio.create_task(self._receive(socket))
        try:
            await asyncio.wait({speaking, hearing}, return_when=asyncio.FIRST_COMPLETED)
            # When both are done, the server's close came first: sending fails because of it.
            return hearing.result() if hearing.done() else speaking.result()
        finally:
            for task in (speaking, hearing):
                task.cancel()
            await asyncio.gather(speaking, hearing, return_exceptions=True)

    async def _speak(self, socket: aiohttp.ClientWebSocketResponse) -> StreamEnd:
        """The pacemaker: every 20 ms by the clock, so that a late frame does not make all that follow late."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        late = random.Random(self._weather.seed)
        try:
            while True:
                if (
                    not self._trouble_begun
                    and self._weather.trouble is not StreamTrouble.NONE
                    and loop.time() - began >= self._weather.after
                ):
                    self._begin_trouble()
                    if self._weather.trouble is StreamTrouble.BROKEN:
                        _cut(socket)
                played, reached = self._playback.next_frame()
                moment = self._callee.listen(played)
                self._recorded(moment.frame, played)
                await self._send_moment(socket, moment)
                for name in reached:
                    await self._return_mark(socket, name, cleared=False)
                if moment.hangs_up:
                    return StreamEnd.HUNG_UP
                delay = began + self._chunk * FRAME_MS / 1000 - loop.time() + late.uniform(*self._weather.frame_late_by)
                # Yields even when late, or a stalled loop would not hear anybody while it catches up.
                await asyncio.sleep(max(0.0, delay))
        except (ConnectionError, aiohttp.ClientError):
            # The receiver knows better than a failed send how the connection ended, and is about to say so.
            await asyncio.sleep(1)
            return self._broken("sending failed")
        except TimeoutError:
            return self._broken(f"the server did not take a message for {_SEND_SECONDS} s")

    async def _send_moment(self, socket: aiohttp.ClientWebSocketResponse, moment: Moment) -> None:
        self._chunk += 1
        await self._send(
            socket,
            "media",
            {
                "track": "inbound",
                "chunk": str(self._chunk),
                "timestamp": str(self._chunk * FRAME_MS),
                "payload": base64.b64encode(moment.frame).decode("ascii"),
            },
        )
        if moment.heard_ms:
            self._ledger.event(self._call.sid, "heard", ms=moment.heard_ms, at_ms=self._chunk * FRAME_MS)
        if moment.said:
            self._ledger.event(self._call.sid, "said", text=moment.said, at_ms=self._chunk * FRAME_MS)
        if moment.digit:
            self._ledger.event(self._call.sid, "dtmf", digit=moment.digit, at_ms=self._chunk * FRAME_MS)
            await self._send(socket, "dtmf", {"track": "inbound_track", "digit": moment.digit})

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> StreamEnd:
        while True:
            message = await socket.receive()
            if self._trouble_begun and self._weather.trouble is StreamTrouble.STOPS_READING:
                # What is not read fills the buffers between us, until the other side cannot send.
                await asyncio.Event().wait()
            if message.type is aiohttp.WSMsgType.TEXT:
                await self._obey(socket, message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                self._warn(31950, "a binary message")
            elif message.type is aiohttp.WSMsgType.CLOSE:
                if message.data not in {None, 0, 1000, 1001, 1005}:
                    self._warn(31921, f"the server closed with code {message.data}")
                return StreamEnd.CLOSED
            else:
                return self._broken("the connection ended without a close frame")

    async def _obey(self, socket: aiohttp.ClientWebSocketResponse, text: str) -> None:
        try:
            message = read_message(text, self.sid)
        except InvalidMessageError as error:
            self._warn(31951, str(error))
            return
        if self._drop_next and not isinstance(message, Clear):
            self._drop_next = False
            self._warn(31951, f"a {type(message).__name__.lower()} message was dropped")
            return
        match message:
            case Media(audio):
                self._playback.add(audio)
            case Mark(name):
                self._playback.mark(name)
            case Clear():
                self._record("cleared", dropped_bytes=self._playback.waiting)
                for name in self._playback.clear():
                    await self._return_mark(socket, name, cleared=True)

    async def _return_mark(self, socket: aiohttp.ClientWebSocketResponse, name: str, *, cleared: bool) -> None:
        self._ledger.event(self._call.sid, "mark", name=name, cleared=cleared, at_ms=self._chunk * FRAME_MS)
        await self._send(socket, "mark", {"name": name})

    async def _stop(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        with contextlib.suppress(ConnectionError, aiohttp.ClientError, TimeoutError):
            await self._send(socket, "stop", {"accountSid": self._call.account_sid, "callSid": self._call.sid})

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, event: str, inner: dict[str, Any]) -> None:
        self._sequence += 1
        await self._send_text(socket, {"event": event, "sequenceNumber": str(self._sequence), "streamSid": self.sid, event: inner})

    @property
    def _is_mute(self) -> bool:
        return self._trouble_begun and self._weather.trouble is StreamTrouble.STOPS_SENDING

    def _begin_trouble(self) -> None:
        self._trouble_begun = True
        self._drop_next = self._weather.trouble is StreamTrouble.DROPS_MESSAGE
        self._ledger.weather(self._call.sid, f"stream_{self._weather.trouble}", stream_sid=self.sid, at_ms=self._chunk * FRAME_MS)

    async def _send_text(self, socket: aiohttp.ClientWebSocketResponse, message: dict[str, Any]) -> None:
        if self._is_mute:
            return
        async with asyncio.timeout(_SEND_SECONDS):
            await socket.send_str(json.dumps(message, separators=(",", ":")))

    def _broken(self, text: str) -> StreamEnd:
        self._problem = text
        self._warn(31903, text)
        return StreamEnd.BROKEN

    def _warn(self, code: int, text: str) -> None:
        self._warnings += 1
        if self._warnings <= _MOST_WARNINGS:
            self._ledger.warn(self._call.sid, code, f"stream: {text}")

    def _record(self, state: str, **detail: object) -> None:
        self._ledger.event(self._call.sid, "stream", state=state, stream_sid=self.sid, **detail)

    async def _tell(self, event: str) -> None:
        if not self._verb.status_callback:
            return
        fields = [
            ("AccountSid", self._call.account_sid),
            ("CallSid", self._call.sid),
            ("StreamSid", self.sid),
            ("StreamName", self._verb.name or self.sid),
            ("StreamEvent", event),
            ("Timestamp", format_datetime(datetime.now(UTC))),
        ]
        if self._problem:
            fields.append(("StreamError", self._problem))
        await self._callback("stream", self._verb.status_callback, self._verb.status_callback_method, fields)


def _cut(socket: aiohttp.ClientWebSocketResponse) -> None:
    """End the connection as a network does: without a close frame."""
    transport_socket = socket.get_extra_info("socket")
    if transport_socket is None or transport_socket.fileno() < 0:
        return
    # The event loop's own object does not let anybody shut it down; a copy of the descriptor does.
    with sockets.socket(fileno=os.dup(transport_socket.fileno())) as copy, contextlib.suppress(OSError):
        copy.shutdown(sockets.SHUT_RDWR)
