"""The token a media stream shows first: signed, short-lived, bound to one attempt, carrier call and epoch.

It is checked without the database, so that the voice webhook can answer from reads alone; that it is used once is
the attempt's stream epoch, raised when it is redeemed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime

from core.errors import InvalidInput

_NUMBER = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class StreamClaim:
    attempt_id: str
    epoch: int


def issue(key: bytes, attempt_id: str, carrier_call_id: str, epoch: int, expires_at: datetime) -> str:
    """A token for stream number `epoch` of an attempt."""
    expiry = int(expires_at.timestamp())
    return f"{attempt_id}.{epoch}.{expiry}.{_signature(key, attempt_id, carrier_call_id, epoch, expiry)}"


def verify(key: bytes, token: str, carrier_call_id: str, now: datetime) -> StreamClaim:
    """Raises InvalidInput; the text says why, and never holds the token."""
    parts = token.split(".")
    if len(parts) != 4 or not _NUMBER.fullmatch(parts[1]) or not _NUMBER.fullmatch(parts[2]):
        raise InvalidInput("the stream token is malformed")
    attempt_id, epoch, expiry = parts[0], int(parts[1]), int(parts[2])
    wanted = _signature(key, attempt_id, carrier_call_id, epoch, expiry)
    if not hmac.compare_digest(wanted.encode(), parts[3].encode()):
        raise InvalidInput("the stream token was not issued for this call")
    if now.timestamp() > expiry:
        raise InvalidInput("the stream token has expired")
    return StreamClaim(attempt_id, epoch)


def _signature(key: bytes, attempt_id: str, carrier_call_id: str, epoch: int, expiry: int) -> str:
    message = f"{attempt_id}|{carrier_call_id}|{epoch}|{expiry}".encode()
    return base64.urlsafe_b64encode(hmac.digest(key, message, hashlib.sha256)).rstrip(b"=").decode()
