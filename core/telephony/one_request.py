"""The transport under the Twilio SDK: one request, its own connection, one deadline for all of it, never a retry.

The SDK's own transport keeps connections open, bounds each read but not the whole, and cannot tell a request that never left from
one that may have arrived. For a dial that difference is everything, so the moment of the first byte is a gate that is passed at
most once: whoever gives up first closes it, and a request given up before the gate will never be sent.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import logging
import socket
import ssl
import threading
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

import certifi
from twilio.http import HttpClient
from twilio.http.response import Response

from core.clock import Clock, SystemClock


class NotSentError(Exception):
    """No byte of the request has left this machine, and none will."""


class NoAnswerError(Exception):
    """The request may have arrived. What the other side answered, if anything, is not known."""


class OneRequest(HttpClient):  # type: ignore[misc]  # the twilio package ships no types
    """Sends each request once, within `deadline_seconds` from name look-up to the last byte of the answer.

    Raises NotSentError or NoAnswerError. Keeps the last answer in `answer`, since the SDK's exceptions drop its headers and body.
    Proxies named in the environment are not used: only settings read the environment.
    """

    def __init__(self, deadline_seconds: float, clock: Clock | None = None) -> None:
        # The SDK logs URLs and query strings, which hold phone numbers, when told to log requests. We never tell it to.
        super().__init__(logging.getLogger("twilio.http_client"), False, None)
        self._deadline_seconds = deadline_seconds
        self._clock = clock or SystemClock()
        self.answer: Response | None = None

    def request(
        self,
        method: str,
        uri: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the SDK's signature; our deadline bounds more
        allow_redirects: bool = False,  # noqa: ARG002 - never followed: a second request would be a retry
    ) -> Response:
        self.answer = None
        parts = urlsplit(uri)
        target = parts.path or "/"
        query = "&".join(part for part in (parts.query, urlencode(params, doseq=True) if params else "") if part)
        body = urlencode(data, doseq=True).encode() if data else None
        sent_headers = dict(headers or {})
        if auth is not None:
            sent_headers["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
        sent_headers["Connection"] = "close"
        exchange = _Exchange(
            connection=_connection(parts.scheme, parts.hostname or "", parts.port, self._deadline_seconds),
            request=(method.upper(), f"{target}?{query}" if query else target, body, sent_headers),
            clock=self._clock,
            give_up_at=self._clock.boot_seconds() + self._deadline_seconds,
        )
        self.answer = exchange.run(self._deadline_seconds)
        return self.answer


def _connection(scheme: str, host: str, port: int | None, seconds: float) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context(cafile=certifi.where())
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
    return http.client.HTTPConnection(host, port, timeout=seconds)


class _Exchange:
    """One request on a thread of its own, because no time-out bounds a name look-up, nor an answer that comes byte by byte."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        request: tuple[str, str, bytes | None, dict[str, str]],
        clock: Clock,
        give_up_at: float,
    ) -> None:
        self._connection = connection
        self._request = request
        self._clock = clock
        self._give_up_at = give_up_at
        self._gate = threading.Lock()
        self._sent = False
        self._given_up = False
        self._finished = threading.Event()
        self._socket: socket.socket | None = None
        self._answer: Response | None = None
        self._failure: NotSentError | NoAnswerError | None = None

    def run(self, seconds: float) -> Response:
        threading.Thread(target=self._work, name="carrier-request", daemon=True).start()
        if not self._finished.wait(seconds):
            with self._gate:
                self._given_up = True
                sent = self._sent
            self._cut()
            if sent:
                raise NoAnswerError(f"no complete answer within {seconds:g} s")
            raise NotSentError(f"not connected within {seconds:g} s")
        if self._failure is not None:
            raise self._failure
        assert self._answer is not None
        return self._answer

    def _work(self) -> None:
        try:
            self._answer = self._send()
        except NotSentError as failure:
            self._failure = failure
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller must learn whether the request was sent
            kind = NoAnswerError if self._sent else NotSentError
            self._failure = kind(_describe(error))
            self._failure.__cause__ = error
        finally:
            self._connection.close()
            self._finished.set()

    def _send(self) -> Response:
        self._connection.connect()
        # http.client would quietly connect again if the peer closed before the request: that is a retry.
        self._connection.auto_open = 0
        # http.client forgets the socket while the answer is still being read.
        self._socket = self._connection.sock
        method, target, body, headers = self._request
        with self._gate:
            # A machine that slept, or a process that was frozen, between the decision and now must not send.
            if self._given_up or self._clock.boot_seconds() >= self._give_up_at:
                raise NotSentError("the deadline passed before the request was sent")
            self._sent = True
        self._connection.request(method, target, body=body, headers=headers)
        received = self._connection.getresponse()
        text = received.read().decode("utf-8")
        return Response(received.status, text, _headers(received))

    def _cut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _headers(received: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in received.getheaders()}


def _describe(error: Exception) -> str:
    # The text of an OSError names hosts and errors, never what was sent; other texts may quote what was received.
    return f"{type(error).__name__}: {error}" if isinstance(error, OSError) else type(error).__name__
