"""How orch writes: data to stdout, messages to stderr; colour only where a terminal wants it.

Written by hand rather than with rich, whose import alone takes longer than most commands. `console` and `messages` hand out rich
for what lives on a terminal, such as a progress bar.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TextIO

from core import environment

if TYPE_CHECKING:
    from rich.console import Console

# Pieces of one line, each with its style; "" is none.
Spans = list[tuple[str, str]]

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

# SGR codes of ECMA-48.
_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bright_cyan": "96",
    "bright_magenta": "95",
    "bright_green": "92",
}


def forbid_color() -> None:
    _choices["no_color"] = True


def colour(stream: TextIO) -> bool:
    """--no-color, NO_COLOR, FORCE_COLOR and TERM=dumb decide in this order, then whether it is a terminal."""
    if _choices["no_color"]:
        return False
    wish = environment.colour_wish()
    return stream.isatty() if wish is None else wish


def to_people() -> bool:
    """Whether stdout is read by a person (or is told by FORCE_COLOR to behave so)."""
    return sys.stdout.isatty() or environment.forces_terminal()


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


def styled(text: str, style: str, coloured: bool) -> str:
    """`style` is words such as `bold red`."""
    if not style or not coloured or not text:
        return text
    return f"\x1b[{';'.join(_CODES[word] for word in style.split())}m{text}\x1b[0m"


def printable(text: str) -> str:
    """Without what a terminal would obey: a name or a log line must not move the cursor. Line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def columns(text: str) -> int:
    """How many columns a terminal gives `text`: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def joined(spans: Spans, coloured: bool, limit: int | None = None) -> str:
    """The line, cut after `limit` columns."""
    written, room = [], limit
    for text, style in spans:
        if room is not None:
            text = _cut(text, room)
            room -= columns(text)
        written.append(styled(text, style, coloured))
    return "".join(written)


def _cut(text: str, room: int) -> str:
    while columns(text) > room:
        text = text[: min(len(text) - 1, room)]
    return text


def print_spans(lines: Iterable[Spans]) -> None:
    """Lines on stdout."""
    coloured = colour(sys.stdout)
    sys.stdout.write("".join(f"{joined(spans, coloured)}\n" for spans in lines))


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, default=_as_json, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None) + "\n")


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def say(text: str, style: str = "") -> None:
    """A line of the answer, on stdout."""
    sys.stdout.write(styled(printable(text), style, colour(sys.stdout)) + "\n")


def note(text: str, style: str = "") -> None:
    """A message beside the answer, on stderr."""
    sys.stdout.flush()
    sys.stderr.write(styled(printable(text), style, colour(sys.stderr)) + "\n")
    sys.stderr.flush()


def error_line(text: str) -> None:
    sys.stderr.write(f"orch: {printable(text)}\n")


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]], styles: Mapping[str, str] | None = None) -> None:
    """Columns padded with spaces, never cut: `grep` and `awk` must find whole words. A cell equal to a key of `styles` is coloured."""
    print_spans(table_spans(headers, rows, styles))


def table_spans(headers: Sequence[str], rows: Sequence[Sequence[object]], styles: Mapping[str, str] | None = None) -> list[Spans]:
    cells = [["-" if cell is None or cell == "" else printable(str(cell)).replace("\n", " ") for cell in row] for row in rows]
    everything = [list(headers), *cells]
    widths = [max(columns(line[column]) for line in everything) for column in range(len(headers))]
    found: list[Spans] = []
    for index, line in enumerate(everything):
        spans: Spans = []
        for column, cell in enumerate(line):
            style = "bold" if index == 0 else (styles or {}).get(cell, "")
            spans.append((cell, style))
            if column < len(line) - 1:
                spans.append((" " * (widths[column] - columns(cell) + 2), ""))
        found.append(spans)
    return found


def duration(seconds: float | None) -> str:
    """`0.4 s`, `42 s`, `3 m 05 s`, `2 h 07 m`, `3 d 4 h`."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
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


_LEVEL_STYLES = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}
_SHOWN_APART = frozenset({"ts", "level", "worker", "event", "exception"})


def log_spans(keys: Mapping[str, Any] | None, raw: str, width: int, *, worker: str = "", prefix: str = "") -> Spans:
    """`time level worker | event key=value ...`, the worker's name padded to `width` and in the style `prefix`.

    A traceback follows on lines of its own. `worker` is who wrote a line that does not say so.
    """
    if keys is None:
        return [(f"{'':12} {'':7} ", ""), (f"{worker:{width}}", prefix), (f" | {printable(raw)}", "")]
    level = str(keys.get("level", ""))
    rest = [f"{key}={_value(value)}" for key, value in keys.items() if key not in _SHOWN_APART]
    spans = [
        (f"{_log_time(str(keys.get('ts', ''))):12} ", ""),
        (f"{level:7}", _LEVEL_STYLES.get(level, "")),
        (" ", ""),
        (f"{printable(str(keys.get('worker', worker))):{width}}", prefix),
        (" | ", ""),
        (printable(str(keys.get("event", ""))), "bold" if level in {"error", "critical"} else ""),
        (" " + printable(" ".join(rest)) if rest else "", ""),
    ]
    if "exception" in keys:
        spans.append(("".join(f"\n    {line}" for line in printable(str(keys["exception"])).splitlines()), ""))
    return spans


def render_log_line(keys: Mapping[str, Any] | None, raw: str, width: int) -> str:
    """As `log_spans`, without colour."""
    return joined(log_spans(keys, raw, width), coloured=False)


def _log_time(ts: str) -> str:
    try:
        at = datetime.fromisoformat(ts).astimezone()
    except ValueError:
        return printable(ts[:12])
    if at.date() == datetime.now(UTC).astimezone().date():
        return at.strftime("%H:%M:%S.%f")[:-3]
    return at.strftime("%m-%d %H:%M:%S")


def _value(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if not value or any(c.isspace() or c in '"=' for c in value) else value
    return json.dumps(value, ensure_ascii=False, default=str)
