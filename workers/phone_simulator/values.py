"""What a field of a request may hold, and Twilio's error for everything else. Source: the OpenAPI document, docs/api/errors."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

import phonenumbers

from workers.phone_simulator.api_errors import ApiError

Order = Mapping[str, list[str]]

_E164 = re.compile(r"\+[1-9]\d{6,14}")


def first_values(order: Order) -> dict[str, str]:
    """Each field's first value; a field sent empty counts as not sent, as with Twilio."""
    return {name: values[0] for name, values in order.items() if values and values[0]}


def check_known(order: Order, known: Collection[str], what: str) -> None:
    """Raises ApiError: ignored silently, a field would seem to work here and then surprise on the real network."""
    unknown = {name for name, values in order.items() if name not in known and any(values)}
    if unknown:
        raise ApiError(20001, f"the phone simulator does not simulate {', '.join(sorted(unknown))} {what}")


def check_one_of(fields: Mapping[str, str], name: str, *allowed: str) -> None:
    if name in fields and fields[name] not in allowed:
        wanted = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
        raise ApiError(20001, f"{name} must be {wanted}, not {fields[name]}")


def check_each(order: Order, name: str, allowed: Collection[str], code: int = 20001) -> None:
    for value in order.get(name, []):
        if value and value not in allowed:
            raise ApiError(code, value if code != 20001 else f"{name} must be of {', '.join(sorted(allowed))}, not {value}")


def check_whole(fields: Mapping[str, str], name: str, least: int, most: int) -> None:
    value = fields.get(name)
    if value is not None and not (value.isascii() and value.isdigit() and least <= int(value) <= most):
        raise ApiError(20001, f"{name} must be a whole number from {least} to {most}, not {value}")


def check_url(url: str, code: int) -> None:
    """Raises ApiError with `code`. Twilio refuses a host with an underscore, too."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and "_" not in (parts.hostname or "") and parts.port != 0
    except ValueError:
        valid = False
    if not valid or re.search(r"\s", url):
        raise ApiError(code, url)


def is_e164(number: str) -> bool:
    return _E164.fullmatch(number) is not None


def is_possible_number(number: str) -> bool:
    if not is_e164(number):
        return False
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return False
