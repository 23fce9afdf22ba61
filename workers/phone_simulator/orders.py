"""Is a create request one that Twilio would take? Source: the OpenAPI document (CreateCall), docs/api/errors, docs/iam/test-credentials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import phonenumbers

from workers.phone_simulator.api_errors import MAGIC_FROM, MAGIC_TO, ApiError

STATUS_EVENTS = {"initiated", "ringing", "answered", "completed"}
_E164 = re.compile(r"\+[1-9]\d{6,14}")
_KNOWN = {
    *("To", "From", "Url", "Method", "FallbackUrl", "FallbackMethod", "Twiml", "ApplicationSid"),
    *("StatusCallback", "StatusCallbackMethod", "StatusCallbackEvent", "Timeout", "TimeLimit", "SendDigits"),
    *("MachineDetection", "MachineDetectionTimeout", "AsyncAmd", "AsyncAmdStatusCallback", "AsyncAmdStatusCallbackMethod"),
}
_METHODS = ("Method", "FallbackMethod", "StatusCallbackMethod", "AsyncAmdStatusCallbackMethod")
_BOUNDS = {"Timeout": (1, 600), "TimeLimit": (1, 86400), "MachineDetectionTimeout": (3, 120)}


def check_order(order: Mapping[str, list[str]], numbers: frozenset[str]) -> None:
    """Raises ApiError for the first thing wrong. `numbers` are those that may call."""
    unknown = {name for name, values in order.items() if name not in _KNOWN and any(values)}
    if unknown:
        # Ignored silently, a field would seem to work here and then surprise on the real network.
        raise ApiError(20001, f"the phone simulator does not simulate {', '.join(sorted(unknown))}")
    fields = {name: values[0] for name, values in order.items() if values and values[0]}
    _check_numbers(fields, numbers)
    if "ApplicationSid" in fields:
        raise ApiError(21218, fields["ApplicationSid"])
    if "Url" not in fields and "Twiml" not in fields:
        raise ApiError(21205, "Url parameter is required")
    if len(fields.get("Twiml", "")) > 4000:
        raise ApiError(20001, "Twiml is longer than 4000 characters")
    for name, code in (("Url", 21205), ("FallbackUrl", 21205), ("StatusCallback", 21609), ("AsyncAmdStatusCallback", 21609)):
        if name in fields:
            check_url(fields[name], code)
    for event in order.get("StatusCallbackEvent", []):
        if event not in STATUS_EVENTS:
            raise ApiError(21626, event)
    if not re.fullmatch(r"[0-9A-D#*wW]{0,32}", fields.get("SendDigits", "")):
        raise ApiError(21206, fields["SendDigits"])
    _check_values(fields)


def check_url(url: str, code: int) -> None:
    """Raises ApiError with `code`. Twilio refuses a host with an underscore, too."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and "_" not in (parts.hostname or "") and parts.port != 0
    except ValueError:
        valid = False
    if not valid or re.search(r"\s", url):
        raise ApiError(code, url)


def _check_numbers(fields: Mapping[str, str], numbers: frozenset[str]) -> None:
    if "To" not in fields:
        raise ApiError(21201)
    if "From" not in fields:
        raise ApiError(21213)
    to, caller = fields["To"], fields["From"]
    if caller in MAGIC_FROM:
        raise ApiError(MAGIC_FROM[caller], caller)
    if not _E164.fullmatch(caller):
        raise ApiError(21212, caller)
    if caller not in numbers:
        raise ApiError(21210, caller)
    if to in MAGIC_TO:
        raise ApiError(MAGIC_TO[to], to)
    if not _possible(to):
        raise ApiError(21211, to)


def _possible(number: str) -> bool:
    if not _E164.fullmatch(number):
        return False
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False


def _check_values(fields: Mapping[str, str]) -> None:
    for name in _METHODS:
        if fields.get(name, "POST") not in {"GET", "POST"}:
            raise ApiError(20001, f"{name} must be GET or POST")
    for name, (least, most) in _BOUNDS.items():
        value = fields.get(name)
        if value is not None and not (value.isdigit() and least <= int(value) <= most):
            raise ApiError(20001, f"{name} must be a whole number from {least} to {most}")
    if fields.get("MachineDetection", "Enable") not in {"Enable", "DetectMessageEnd"}:
        raise ApiError(20001, "MachineDetection must be Enable or DetectMessageEnd")
    if fields.get("AsyncAmd", "true") not in {"true", "false"}:
        raise ApiError(20001, "AsyncAmd must be true or false")
