"""Is this webhook from the carrier?

X-Twilio-Signature is an HMAC-SHA1 with the Auth Token over the configured URL and the sorted form fields.
Source: docs/usage/webhooks/webhooks-security.
"""

from __future__ import annotations

from collections.abc import Iterable

from twilio.request_validator import RequestValidator

SIGNATURE_HEADER = "X-Twilio-Signature"


class _Fields(dict[str, list[str]]):
    """Repeated names kept, in the form the validator asks for them."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        super().__init__()
        for name, value in fields:
            self.setdefault(name, []).append(value)

    def getlist(self, name: str) -> list[str]:
        return self[name]


def is_authentic(auth_token: str, url: str, fields: Iterable[tuple[str, str]], signature: str | None) -> bool:
    """Whether a webhook was signed by the holder of `auth_token`.

    `url` is the address the carrier was given: the configured public base, the path and the query string, not what the request's
    Host header says. `fields` are all fields of the form, unknown and empty ones too; none for a GET and for a websocket upgrade.
    """
    if not signature:
        return False
    return bool(RequestValidator(auth_token).validate(url, _Fields(fields), signature))


def signature_of(auth_token: str, url: str, fields: Iterable[tuple[str, str]]) -> str:
    """The signature the carrier sends with such a request."""
    return str(RequestValidator(auth_token).compute_signature(url, _Fields(fields)))
