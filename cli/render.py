"""How orch writes: data to stdout, messages to stderr; colour only where a terminal wants it.

rich decides about colour (NO_COLOR, FORCE_COLOR, TERM, no terminal); it is loaded only when something is written for people.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

# Set by the global option --no-color, before anything is written.
_choices = {"no_color": False}

STATE_STYLES = {
    "running": "green",
    "ready": "green",
    "starting": "cyan",
    "stopping": "cyan",
    "draining": "cyan",
    "backoff": "yellow",
    "hung": "bold red",
    "fatal": "bold red",
    "stopped": "dim",
}


def forbid_color() -> None:
    _choices["no_color"] = True


@cache
def console() -> Console:
    """stdout, for people."""
    return _console(stderr=False)


@cache
def messages() -> Console:
    """stderr, for people."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    plain = _choices["no_color"]
    system: Literal["auto"] | None = None if plain else "auto"
    return Console(stderr=stderr, no_color=plain or None, color_system=system, highlight=False, markup=False, soft_wrap=True)


def to_people() -> bool:
    """Whether stdout is read by a person (or is told by FORCE_COLOR to behave so)."""
    return sys.stdout.isatty() or (not _choices["no_color"] and console().is_terminal)


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, default=_as_json, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None) + "\n")


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def say(text: str, style: str = "") -> None:
    """A line of the answer, on stdout."""
    console().print(text, style=style or None)


def note(text: str, style: str = "") -> None:
    """A message beside the answer, on stderr."""
    messages().print(text, style=style or None)


def error_line(text: str) -> None:
    sys.stderr.write(f"orch: {text}\n")


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]], styles: Mapping[str, str] | None = None) -> None:
    """Columns padded with spaces, never cut: `grep` and `awk` must find whole words. A cell equal to a key of `styles` is coloured."""
    from rich.text import Text

    cells = [[("-" if cell is None or cell == "" else str(cell)).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(headers), *cells]) for column in range(len(headers))]
    for index, line in enumerate([list(headers), *cells]):
        text = Text(no_wrap=True)
        for column, cell in enumerate(line):
            last = column == len(line) - 1
            padded = cell if last else cell.ljust(widths[column] + 2)
            text.append(padded, style="bold" if index == 0 else (styles or {}).get(cell, ""))
        text.rstrip()
        console().print(text)


def duration(seconds: float | None) -> str:
    """`0.4 s`, `42 s`, `3 m 05 s`, `2 h 07 m`, `3 d 4 h`."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1024 / 1024:.0f} MB"


def local_time(at: datetime | str | None, now: datetime | None = None) -> str:
    """An instant in this machine's zone; with its date unless that is today's."""
    if at is None or at == "":
        return "-"
    instant = (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone()
    today = (now or datetime.now(UTC)).astimezone().date()
    return instant.strftime("%H:%M:%S" if instant.date() == today else "%Y-%m-%d %H:%M:%S")


def render_log_line(keys: Mapping[str, Any] | None, raw: str, width: int) -> str:
    """`time level worker | event key=value ...` as rich markup-free text; a traceback follows on lines of its own."""
    if keys is None:
        return f"{'':12} {'':7} {'':{width}} | {raw}"
    at = str(keys.get("ts", ""))
    try:
        shown = datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        shown = at[:12]
    rest = [f"{key}={_value(value)}" for key, value in keys.items() if key not in {"ts", "level", "worker", "event", "exception"}]
    head = f"{shown:12} {keys.get('level', '')!s:7} {keys.get('worker', '')!s:{width}} | {keys.get('event', '')}"
    text = " ".join([head, *rest])
    if "exception" in keys:
        text += "".join(f"\n    {line}" for line in str(keys["exception"]).splitlines())
    return text


def _value(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if not value or any(c.isspace() or c in '"=' for c in value) else value
    return json.dumps(value, ensure_ascii=False, default=str)
