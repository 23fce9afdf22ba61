"""Who may use the JSON API: holders of the key, and this machine itself as long as nothing real hangs on it."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.datastructures import Headers

from core.settings import Settings

# What proxies add. Any of them says that the peer is not where the request comes from.
FORWARDING_HEADERS = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "cf-ray"})
FORWARDING_PREFIXES = ("x-forwarded-", "x-original-")
# A browser's own word for who made it send the request: the page itself, or a person who typed the address.
_OWN_SITE = frozenset({"same-origin", "none"})


@dataclass(frozen=True, slots=True)
class AccessRules:
    """`open_to_loopback`: this machine itself needs no key."""

    api_key: str
    open_to_loopback: bool

    @classmethod
    def under(cls, settings: Settings, api_key: str) -> AccessRules:
        """A public URL means a proxy, whose requests come from this machine, too; a real carrier means real phones."""
        return cls(api_key, open_to_loopback=settings.simulated and settings.server.public_url is None)

    def check(self, request: Request) -> None:
        """Raises HTTPException 401."""
        given = _given_key(request.headers)
        if given and self.api_key and hmac.compare_digest(given.encode(), self.api_key.encode()):
            return
        if given is None and self.open_to_loopback and _is_direct_loopback(request):
            return
        raise HTTPException(
            401,
            "this needs the API key: send `Authorization: Bearer KEY` (the key is in keys/api.key, or ORCH_API_KEY)",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _given_key(headers: Headers) -> str | None:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return headers.get("x-api-key")


def _is_direct_loopback(request: Request) -> bool:
    """No proxy in between, and no web page of another origin behind it (DNS rebinding shows in Host, others in Origin)."""
    headers = request.headers
    if request.client is None or not _is_loopback(request.client.host):
        return False
    if any(name in FORWARDING_HEADERS or name.startswith(FORWARDING_PREFIXES) for name in headers):
        return False
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not _is_loopback(_host_of("//" + hosts[0])):
        return False
    if any(site.lower() not in _OWN_SITE for site in headers.getlist("sec-fetch-site")):
        return False
    return all(origin.lower() == f"http://{hosts[0].lower()}" for origin in headers.getlist("origin"))


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
