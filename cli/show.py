"""Showing data: a table for people, JSON for programs. stdout is data; nothing else is written there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime, time
from typing import Any, TypeVar

from cli.render import note, print_json, print_table, say
from core.domain.zones import zone_of
from core.errors import InvalidInput

Row = TypeVar("Row")


def plain(value: Any) -> Any:
    """Dataclasses, instants and sets as JSON has them."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return value


def emit(value: Any, as_json: bool, text: str) -> None:
    """One object: JSON, or its text."""
    if as_json:
        print_json(plain(value))
    else:
        say(text)


def table(rows: Sequence[Row], as_json: bool, columns: Mapping[str, Callable[[Row], str]], empty: str) -> None:
    """Many objects: a JSON list, or aligned columns. `empty` is said on stderr when there are none."""
    if as_json:
        print_json(plain(rows))
    elif rows:
        print_table(list(columns), [[column(row) for column in columns.values()] for row in rows])
    else:
        note(empty)


def local(instant: datetime | None, zone: str) -> str:
    """An instant in the contact's own time."""
    if instant is None:
        return "never"
    try:
        return f"{instant.astimezone(zone_of(zone)):%Y-%m-%d %H:%M} {zone}"
    except InvalidInput:
        # A zone that this machine no longer knows must not keep its contact from being shown.
        return f"{instant:%Y-%m-%d %H:%M} UTC"
