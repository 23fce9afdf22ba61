"""One media-stream websocket: Twilio's messages in and out, and nothing about the conversation.

Source: Twilio, Media Streams, websocket messages. Text frames, one JSON object each: connected, start, then media,
dtmf and mark, finally stop; media, mark and clear go back. Exactly the documented fields are sent (anything else is
their warning 31951).
"""

from __future__ import annotations

import asyncio
import re
import socket
from binascii import Error as BadBase64
from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from core.speech.base import FRAME_BYTES, SAMPLE_RATE

HANDSHAKE_SECONDS = 5.0
# Two seconds of outbound audio as JSON. A kernel that takes megabytes would hide a dead line for minutes.
SEND_BUFFER_BYTES = 32 * 1024
# How long sent data may stay unacknowledged before the kernel gives the connection up.
UNACKNOWLEDGED_MS = 5000
# A close frame that is not answered is not waited for longer.
CLOSE_SECONDS = 2.0
# Audio that arrives while the token is being redeemed: five seconds of frames.
EARLY_FRAMES = 250
# A carrier's message is well below a kilobyte. A longer one is dropped; a frame beyond the second limit ends the connection,
# because it would have to be held in memory first.
MAX_MESSAGE = 64 * 1024
MAX_FRAME = 256 * 1024
# Sound in one message: the carrier sends 20 ms.
MAX_PAYLOAD = 50 * FRAME_BYTES

_SID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY = re.compile(r"[0-9A-D*#]")
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Start:
    """The stream's first word: which call it is, and the token that proves it."""

    stream_sid: str
    call_sid: str
    token: str


@dataclass(slots=True)
class Counters:
    """What a server's streams have seen, together."""

    started: int = 0
    refused: int = 0
    malformed: int = 0


class Receiver(Protocol):
    """Who a stream talks to once it is let in."""

    def on_audio(self, frame: bytes) -> None: ...
    def on_digit(self, key: str) -> None: ...
    def on_mark(self, name: str) -> None: ...
    def on_stop(self) -> None: ...
    def on_disconnected(self) -> None: ...


class Gate(Protocol):
    """Decides about streams. Called from the event loop."""

    def on_start(self, stream: MediaStream, start: Start) -> None:
        """Answer, now or later, with `stream.admit` or `stream.refuse`."""
        ...

    def on_connected(self, stream: MediaStream) -> None:
        """A stream that has not said yet which call it is."""
        ...

    def on_refused(self, reason: str) -> None: ...

    def on_gone(self, stream: MediaStream) -> None:
        """The connection is over."""
        ...


class Malformed(Exception):
    """A message that is not what the carrier documents. It is dropped and counted."""


class MediaStream(WSListener):
    """The transport of one call: picows' listener on one side, a session's `Outbound` on the other."""

    def __init__(self, gate: Gate, counters: Counters) -> None:
        super().__init__()
        self._gate = gate
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._transport: WSTransport | None = None
        self._receiver: Receiver | None = None
        self._asked = False
        self._deadline: asyncio.TimerHandle | None = None
        self._early: list[bytes] = []
        self._rest = b""
        self._closing = False
        self._media_head = b""
        self._mark_head = b""
        self._clear = b""
        self._stalled_since: float | None = None
        self._sid = ""
        self._sequence = 0
        self._stopped = False
        self._marks: set[str] = set()  # sent, and not come back
        self.malformed = 0
        self.malformed_because = ""  # the latest

    # --- picows -------------------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        plain = transport.underlying_transport.get_extra_info("socket")
        if plain is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
        transport.underlying_transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES, low=SEND_BUFFER_BYTES // 4)
        self._deadline = self._loop.call_later(HANDSHAKE_SECONDS, self._too_late)
        self._gate.on_connected(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            # The peer's close frame is answered; what it means for the call depends on whether `stop` came before.
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        if self._closing:
            return
        try:
            self._take(_decoded(frame))
        except Malformed as error:
            self._counters.malformed += 1
            self.malformed += 1
            self.malformed_because = str(error)
            if self._receiver is None and not self._asked:
                self.refuse(f"malformed message: {error}")

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002
        self._closing = True
        self._cancel_deadline()
        self._early.clear()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.on_disconnected()
        self._gate.on_gone(self)

    def pause_writing(self) -> None:
        if self._stalled_since is None:
            self._stalled_since = self._loop.time()

    def resume_writing(self) -> None:
        self._stalled_since = None

    # --- the carrier's messages ---------------------------------------------------------------------------------------

    def _take(self, message: dict[str, Any]) -> None:
        event = message.get("event")
        if self._asked:
            self._in_order(message)
        if event == "media":
            self._media(message)
        elif self._asked:
            self._later(event, message)
        elif event == "start":
            start = _start_of(message)
            self._sid = start.stream_sid
            self._in_order(message)
            self._asked = True
            self._cancel_deadline()
            self._gate.on_start(self, start)
        elif event != "connected":
            raise Malformed(f"{str(event)[:20]!r} before start")

    def _in_order(self, message: dict[str, Any]) -> None:
        """Each message names its stream and is numbered higher than the one before. One that leaves these out is believed."""
        if message.get("streamSid", self._sid) != self._sid:
            raise Malformed("another stream's message")
        if self._stopped:
            raise Malformed("after stop")
        number = message.get("sequenceNumber")
        if number is None:
            return
        if not isinstance(number, str) or not _NUMBER.fullmatch(number):
            raise Malformed("a sequence number that is none")
        sequence = int(number)
        if sequence <= self._sequence:
            raise Malformed("out of order")
        self._sequence = sequence

    def _media(self, message: dict[str, Any]) -> None:
        if not self._asked:
            raise Malformed("media before start")
        try:
            audio = a2b_base64(message["media"]["payload"], strict_mode=True)
        except (KeyError, TypeError, ValueError, BadBase64):
            raise Malformed("media without a payload") from None
        if not 0 < len(audio) <= MAX_PAYLOAD:
            raise Malformed("a payload of no fitting size")
        if len(audio) == FRAME_BYTES and not self._rest:
            self._frame(audio)
            return
        # Frames of 20 ms are what the carrier sends; should it send others, whole ones are made of them.
        audio = self._rest + audio
        whole = len(audio) - len(audio) % FRAME_BYTES
        for begin in range(0, whole, FRAME_BYTES):
            self._frame(audio[begin : begin + FRAME_BYTES])
        self._rest = audio[whole:]

    def _frame(self, frame: bytes) -> None:
        if self._receiver is not None:
            self._receiver.on_audio(frame)
        elif len(self._early) < EARLY_FRAMES:
            self._early.append(frame)

    def _later(self, event: object, message: dict[str, Any]) -> None:
        receiver = self._receiver
        if event == "mark":
            name = _inner(message, "mark").get("name")
            if not isinstance(name, str):
                raise Malformed("mark without a name")
            if name not in self._marks:
                raise Malformed("a mark that was never sent")
            self._marks.discard(name)
            if receiver is not None:
                receiver.on_mark(name)
        elif event == "dtmf":
            key = _inner(message, "dtmf").get("digit")
            if not isinstance(key, str) or not _KEY.fullmatch(key):
                raise Malformed("dtmf without a digit")
            if receiver is not None:
                receiver.on_digit(key)
        elif event == "stop":
            self._stopped = True
            if receiver is not None:
                receiver.on_stop()
            else:
                # The contact was quicker than our database.
                self.close()
        else:
            raise Malformed("a second start" if event == "start" else "unknown event")

    # --- letting in and turning away ----------------------------------------------------------------------------------

    @property
    def gone(self) -> bool:
        return self._closing

    def admit(self, stream_sid: str, receiver: Receiver) -> None:
        """The session takes over, beginning with the audio that came meanwhile."""
        sid = stream_sid.encode()
        self._media_head = b'{"event":"media","streamSid":"' + sid + b'","media":{"payload":"'
        self._mark_head = b'{"event":"mark","streamSid":"' + sid + b'","mark":{"name":"'
        self._clear = b'{"event":"clear","streamSid":"' + sid + b'"}'
        self._counters.started += 1
        self._receiver = receiver
        early, self._early = self._early, []
        for frame in early:
            receiver.on_audio(frame)

    def refuse(self, reason: str, code: WSCloseCode = WSCloseCode.POLICY_VIOLATION) -> None:
        """Turn the stream away. The reason goes to the log, never to the other side."""
        if self._closing:
            return
        self._counters.refused += 1
        self._gate.on_refused(reason)
        self._shut(code)

    def give_way(self) -> None:
        """Too many connections have not said what they want, and this one has had the longest time for it."""
        self._counters.refused += 1
        self.abort()

    def _too_late(self) -> None:
        self.refuse(f"no start within {HANDSHAKE_SECONDS:g} s")

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # --- Outbound -----------------------------------------------------------------------------------------------------

    def media(self, frame: bytes) -> None:
        self._send(self._media_head + b2a_base64(frame, newline=False) + b'"}}')

    def mark(self, name: str) -> None:
        self._marks.add(name)
        self._send(self._mark_head + name.encode() + b'"}}')

    def clear(self) -> None:
        self._send(self._clear)

    def close(self) -> None:
        self._shut(WSCloseCode.OK)

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    @property
    def stalled_since(self) -> float | None:
        return self._stalled_since

    def _send(self, message: bytes) -> None:
        if not self._closing and self._transport is not None:
            self._transport.send(WSMsgType.TEXT, message)

    def _shut(self, code: WSCloseCode) -> None:
        if self._closing:
            return
        self._closing = True
        self._cancel_deadline()
        if self._transport is not None:
            self._transport.send_close(code)
            self._loop.call_later(CLOSE_SECONDS, self._transport.disconnect, False)


def _decoded(frame: WSFrame) -> dict[str, Any]:
    if frame.msg_type != WSMsgType.TEXT or not frame.fin:
        raise Malformed("not one text frame")
    payload = frame.get_payload_as_memoryview()
    if len(payload) > MAX_MESSAGE:
        raise Malformed("too long")
    try:
        message = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise Malformed("not JSON") from None
    if not isinstance(message, dict):
        raise Malformed("not a JSON object")
    return message


def _inner(message: dict[str, Any], name: str) -> dict[str, Any]:
    inner = message.get(name)
    if not isinstance(inner, dict):
        raise Malformed(f"{name} without its content")
    return inner


def _start_of(message: dict[str, Any]) -> Start:
    start = _inner(message, "start")
    sid, call = start.get("streamSid"), start.get("callSid")
    if not isinstance(sid, str) or not _SID.fullmatch(sid) or not isinstance(call, str) or not _SID.fullmatch(call):
        raise Malformed("start without streamSid and callSid")
    parameters = start.get("customParameters")
    token = parameters.get("token") if isinstance(parameters, dict) else None
    form = start.get("mediaFormat")
    if isinstance(form, dict) and (form.get("encoding") != "audio/x-mulaw" or form.get("sampleRate") != SAMPLE_RATE):
        raise Malformed("not 8 kHz mu-law")
    return Start(sid, call, token if isinstance(token, str) else "")
