"""One HTTP connection of the webhook server, with the limits that uvicorn lacks.

A request must have arrived whole within a deadline, its head within a size, and a crowd of connections gives way to a new
one: the carrier's webhooks are answered whoever else holds connections open. Built on uvicorn's httptools protocol, whose
parser callbacks are overridden here; tests pin that they are called.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from time import monotonic
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from core.logs import get_logger

# From a request's first byte to its last, and from the connection's beginning to the first one. The carrier takes milliseconds.
REQUEST_SECONDS = 10.0
# Once a request was answered before it had arrived whole: what still comes is thrown away for so long, so that the answer is read.
LINGER_SECONDS = 2.0
# Request line and headers together.
MAX_HEAD = 32 * 1024
MAX_CONNECTIONS = 256
# How long the other side may leave an answer unread.
UNREAD_MS = 15_000
# A flood must not become a flood of log lines.
LOG_EVERY_SECONDS = 60.0


@dataclass(slots=True)
class Limits:
    """A server's limits, and how often each was reached."""

    request_seconds: float = REQUEST_SECONDS
    linger_seconds: float = LINGER_SECONDS
    max_connections: int = MAX_CONNECTIONS
    reached: Counter[str] = field(default_factory=Counter)
    _logged: dict[str, float] = field(default_factory=dict)

    def note(self, kind: str, client: str) -> None:
        self.reached[kind] += 1
        now = monotonic()
        if now - self._logged.get(kind, -LOG_EVERY_SECONDS) >= LOG_EVERY_SECONDS:
            self._logged[kind] = now
            get_logger().warning("http.limit", limit=kind, client=client, times=self.reached[kind])


class GuardedProtocol(HttpToolsProtocol):
    """Keeps count of what it waits for; everything else is uvicorn's."""

    def __init__(self, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True
        self._partly_here = False
        self.waiting_since = self.loop.time()

    # --- asyncio ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        plain = transport.get_extra_info("socket")
        if plain is not None and plain.family in (socket.AF_INET, socket.AF_INET6):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
        self._set_deadline(self._limits.request_seconds)
        self._make_room()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._partly_here:
            self._begin_to_read()
        self._head_bytes += len(data)
        super().data_received(data)
        # Counted after the parser saw it: a small head with a large body behind it in one piece is no large head.
        if self._in_head and self._head_bytes > MAX_HEAD and not self.transport.is_closing():
            self._give_up("head", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a request's head may have {MAX_HEAD} bytes")

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    # --- the parser ---------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        # Behind a request, in the same piece, there may be another one.
        if self._deadline is None:
            self._begin_to_read()
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._partly_here = False
        self._in_head = True
        self._head_bytes = 0
        self._cancel_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.waiting_since = self.loop.time()
        if self._partly_here:
            self._set_deadline(self._limits.linger_seconds)

    def send_400_response(self, msg: str) -> None:
        self._answer(HTTPStatus.BAD_REQUEST, msg)
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing here speaks anything but HTTP: who asks for a websocket is answered as if he had not."""

    # --- limits -------------------------------------------------------------------------------------------------------

    @property
    def waits_for_client(self) -> bool:
        """Is there no request that we are working on?"""
        cycle = self._present_cycle
        return self._partly_here or cycle is None or cycle.response_complete

    @property
    def address(self) -> str:
        return self.client[0] if self.client is not None else ""

    @property
    def _present_cycle(self) -> RequestResponseCycle | None:
        # uvicorn declares it as never None, which it is until the first request.
        return self.cycle

    def _begin_to_read(self) -> None:
        self._partly_here = True
        self.waiting_since = self.loop.time()
        self._set_deadline(self._limits.request_seconds)

    def _set_deadline(self, seconds: float) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(seconds, self._too_late)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        why = f"the request did not arrive within {self._limits.request_seconds:g} s"
        self._give_up("slow", HTTPStatus.REQUEST_TIMEOUT, why)

    def _give_up(self, kind: str, status: HTTPStatus, why: str) -> None:
        if self.transport.is_closing():
            return
        cycle = self._present_cycle
        answered = not self._in_head and cycle is not None and cycle.response_started
        if self._partly_here and not answered:
            self._limits.note(kind, self.address)
            self._answer(status, why)
        self.transport.close()

    def _answer(self, status: HTTPStatus, why: str) -> None:
        """An answer to something that never became a request."""
        body = json.dumps({"type": "about:blank", "title": status.phrase, "status": status, "detail": why}).encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)

    def _make_room(self) -> None:
        """When there are too many: close the connection that has kept us waiting longest, of the client that holds the most."""
        if len(self.connections) <= self._limits.max_connections:
            return
        # One that was closed in this very turn of the loop is still listed.
        guarded = [each for each in self.connections if isinstance(each, GuardedProtocol) and not each.transport.is_closing()]
        if len(guarded) <= self._limits.max_connections:
            return
        holds = Counter(each.address for each in guarded)
        waiting = [each for each in guarded if each is not self and each.waits_for_client]
        # None: every one of them has a request under way, and the newcomer has not even begun.
        crowd = max(waiting, key=lambda each: (holds[each.address], -each.waiting_since), default=self)
        self._limits.note("connections", crowd.address)
        crowd.transport.abort()
