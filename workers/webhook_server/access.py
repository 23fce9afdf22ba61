"""Who may use the JSON API: holders of the key, and this machine itself as long as nothing real hangs on it."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

FORWARDING_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")


@dataclass(frozen=True, slots=True)
class AccessRules:
    """`open_to_loopback`: no public URL is set and the carrier is the simulator."""

    api_key: str
    open_to_loopback: bool

    def check(self, request: Request) -> None:
        """Raises HTTPException 401."""
        given = _given_key(request.headers)
        if given is not None and hmac.compare_digest(given.encode(), self.api_key.encode()):
            return
        if given is None and self.open_to_loopback and _is_direct_loopback(request):
            return
        raise HTTPException(
            401,
            "this needs the API key: send `Authorization: Bearer KEY` (the key is in keys/api.key, or ORCH_API_KEY)",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _given_key(headers: Mapping[str, str]) -> str | None:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    return headers.get("x-api-key")


def _is_direct_loopback(request: Request) -> bool:
    """No proxy in between, and no web page of another origin behind it (DNS rebinding shows in Host, others in Origin)."""
    if request.client is None or not _is_loopback(request.client.host):
        return False
    if any(name in request.headers for name in FORWARDING_HEADERS):
        return False
    if not _is_loopback(urlsplit("//" + request.headers.get("host", "")).hostname or ""):
        return False
    origin = request.headers.get("origin")
    return origin is None or _is_loopback(urlsplit(origin).hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
