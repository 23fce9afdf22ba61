"""Is this a webhook of the carrier, and what does it say? Nothing behind this module sees an unsigned one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, HTTPException, Request
from starlette.requests import ClientDisconnect

from core.logs import get_logger
from core.telephony.signature import SIGNATURE_HEADER, is_authentic
from workers.webhook_server.parts import WebhookParts

# Twilio sends some thirty.
MAX_FIELDS = 500
# What tells one call from another: given twice with two values, it tells nothing.
_IDENTITY = ("AccountSid", "CallSid", "CallStatus", "Direction", "From", "To")
_SID = re.compile(r"[A-Za-z0-9]{1,64}")
_ATTEMPT = re.compile(r"[A-Za-z0-9_-]{1,64}")

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Form:
    """A verified webhook: its form fields, the parameters of its URL, and the attempt named there."""

    fields: dict[str, str]
    query: dict[str, str]

    @property
    def attempt_id(self) -> str:
        """Empty when the URL names none."""
        return self.query.get("attempt", "")

    @property
    def call_sid(self) -> str:
        return self.fields.get("CallSid", "")

    @property
    def is_inbound(self) -> bool:
        """Somebody rang us: no attempt of ours is behind it."""
        return not self.attempt_id and self.fields.get("Direction") == "inbound"

    def number(self, name: str, *, most: int) -> int | None:
        """A whole number from 0 to `most` in the URL; None when it is absent or anything else."""
        return small_number(self.query.get(name, ""), most)


def small_number(text: str, most: int) -> int | None:
    # The length comes first: int() of a megabyte of digits is work, and of some thousands an error.
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or int(text) > most:
        return None
    return int(text)


async def verified(request: Request) -> Form:
    """The webhook's form, if the carrier signed it. Raises HTTPException 400, 403 or 413."""
    parts: WebhookParts = request.app.state.parts
    try:
        body = await request.body()
    except ClientDisconnect:
        raise HTTPException(400, "the request was not finished") from None
    try:
        fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise HTTPException(400, f"a webhook may have {MAX_FIELDS} fields") from None
    # Not from request.url: that is made of the Host header, which says what its sender likes.
    path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    url = f"{parts.settings.public_url}{path}" + (f"?{query}" if query else "")
    if not is_authentic(parts.auth_token, url, fields, request.headers.get(SIGNATURE_HEADER)):
        _refused(request, "signature")
        raise HTTPException(403, "the signature does not match")
    for name in _IDENTITY:
        if len({value for given, value in fields if given == name}) > 1:
            _refused(request, f"{name} twice")
            raise HTTPException(400, f"{name} is given twice")
    form = Form(dict(reversed(fields)), dict(parse_qsl(query, keep_blank_values=True)))
    if form.fields.get("AccountSid", parts.account_sid) != parts.account_sid:
        _refused(request, "account")
        raise HTTPException(403, "the webhook is another account's")
    if not _SID.fullmatch(form.call_sid):
        raise HTTPException(400, "the webhook names no call")
    if form.attempt_id and not _ATTEMPT.fullmatch(form.attempt_id):
        raise HTTPException(400, "the webhook's address names no attempt")
    return form


def _refused(request: Request, reason: str) -> None:
    _log.warning("webhook.refused", path=request.scope["path"], reason=reason, client=request.client.host if request.client else None)


Verified = Annotated[Form, Depends(verified)]
