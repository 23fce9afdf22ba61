"""Requests to our side: signed form posts, bounded and repeated as Twilio does it.

Source: docs/usage/webhooks/webhooks-connection-overrides (connect 5 s, read 15 s, 15 s in all, one retry of a failed connection).
"""

from __future__ import annotations

import ssl
import uuid
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from core.telephony.signature import SIGNATURE_HEADER, signature_of
from workers.phone_simulator.ledger import Fields
from workers.phone_simulator.ledger_writer import LedgerWriter

_LIMIT = aiohttp.ClientTimeout(total=15, sock_connect=5, sock_read=15)
_MOST_KEPT = 4000  # characters of an answer in the ledger


@dataclass(frozen=True, slots=True)
class Reply:
    """Our side's answer. `error` is Twilio's code when there was none, or it was not a success; else 0."""

    status: int
    content_type: str
    body: bytes
    error: int


class Webhooks:
    def __init__(self, auth_token: str, ledger: LedgerWriter, limit: aiohttp.ClientTimeout = _LIMIT) -> None:
        self._auth_token = auth_token
        self._ledger = ledger
        # A connection kept open might be closed by the other side just as it is used again; that failure would not be our side's.
        self._session = aiohttp.ClientSession(timeout=limit, connector=aiohttp.TCPConnector(force_close=True, limit=0))

    @property
    def session(self) -> aiohttp.ClientSession:
        return self._session

    async def close(self) -> None:
        await self._session.close()

    async def send(self, purpose: str, call_sid: str, url: str, method: str, fields: Fields) -> Reply:
        """One webhook, whatever comes of it. Recorded with its answer."""
        url = url.partition("#")[0]
        body: bytes | None = None
        signed = fields
        headers = {"User-Agent": "TwilioProxy/1.1", "Accept": "*/*", "I-Twilio-Idempotency-Token": str(uuid.uuid4())}
        if method == "GET":
            url += ("&" if "?" in url else "?") + urlencode(fields)
            signed = []
        else:
            body = urlencode(fields).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded; charset=UTF-8"
        headers[SIGNATURE_HEADER] = signature_of(self._auth_token, url, signed)
        began = monotonic()
        reply, problem, tries = await self._try(method, url, body, headers)
        self._ledger.event(
            call_sid,
            "webhook",
            purpose=purpose,
            url=url,
            method=method,
            fields=fields,
            status=reply.status,
            error=reply.error,
            problem=problem,
            tries=tries,
            ms=round((monotonic() - began) * 1000),
            body=_readable(reply),
        )
        if reply.error:
            self._ledger.warn(call_sid, reply.error, f"{purpose} webhook: {problem or f'HTTP {reply.status}'}")
        return reply

    async def _try(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> tuple[Reply, str, int]:
        tries = 0
        while True:
            tries += 1
            try:
                # Sent as it was given, since that is what was signed.
                async with self._session.request(
                    method, URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
                ) as response:
                    content = await response.read()
                    error = 0 if 200 <= response.status < 300 else 11200
                    return Reply(response.status, response.content_type, content, error), "", tries
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as failure:
                if tries == 2:
                    return Reply(0, "", b"", _connect_error(failure)), str(failure), tries
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
                return Reply(0, "", b"", 11200), f"{type(failure).__name__} {failure}".strip(), tries


def _readable(reply: Reply) -> str:
    if reply.content_type.startswith(("audio/", "video/", "image/")):
        return f"({len(reply.body)} bytes of {reply.content_type})"
    return reply.body.decode("utf-8", "replace")[:_MOST_KEPT]


def _connect_error(failure: Exception) -> int:
    if isinstance(failure, aiohttp.ClientConnectorCertificateError):
        return 11237
    if isinstance(failure, aiohttp.ClientConnectorDNSError):
        return 11210
    cause = getattr(failure, "os_error", None)
    return 11220 if isinstance(failure, aiohttp.ClientSSLError) or isinstance(cause, ssl.SSLError) else 11205
