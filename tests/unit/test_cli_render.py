"""Columns, colours and what a terminal must not be told."""

from __future__ import annotations

import io
from typing import Any

import pytest

from cli.render import (
    colour,
    columns,
    duration,
    joined,
    local_time,
    log_spans,
    printable,
    render_log_line,
    styled,
    table_spans,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def rendered(*arguments: Any, coloured: bool = False) -> list[str]:
    return [joined(spans, coloured) for spans in table_spans(*arguments)]


@pytest.fixture(autouse=True)
def nothing_wished(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_colour_is_for_terminals_unless_somebody_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert colour(Terminal())
    assert not colour(io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour(Terminal())
    assert styled("x", "bold red", True) == "\x1b[1;31mx\x1b[0m"
    assert styled("x", "red", False) == "x"


def test_a_table_is_padded_never_cut_and_has_no_borders() -> None:
    assert rendered(("NAME", "STATE", "WORK"), [("a" * 30, "up", ""), ("b", None, "4 calls")]) == [
        "NAME" + " " * 28 + "STATE  WORK",
        "a" * 30 + "  up     -",
        "b" + " " * 31 + "-      4 calls",
    ]


def test_wide_letters_keep_the_columns_straight() -> None:
    lines = rendered(("NAME", "X"), [("日本", "1"), ("Zoe\u0308", "2"), ("Ada", "3")])
    assert [columns(line[: line.rindex(" ") + 1]) for line in lines] == [6, 6, 6, 6]


def test_a_cell_is_coloured_by_what_it_says() -> None:
    assert "\x1b[32mup\x1b[0m" in rendered(("S",), [("up",), ("down",)], {"up": "green"}, coloured=True)[1]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Zoë 日本", "Zoë 日本"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x9b2J", "\\x9b2J"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x07", "\\x07"),
    ],
)
def test_nothing_that_a_terminal_obeys_is_printed(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_log_line_cannot_move_the_cursor_either() -> None:
    line = {"ts": "2026-01-01T00:00:00.000Z", "level": "error", "worker": "w", "event": "e\x1b[A", "k": "v\x9bA", "exception": "x\x1b[A\ny"}
    text = joined(log_spans(line, "", 3, prefix="cyan"), coloured=False)
    assert not any(sign in text for sign in ("\x1b", "\x9b"))
    assert text.splitlines()[1:] == ["    x\\x1b[A", "    y"]
    assert "\x1b" not in render_log_line(None, "raw \x1b[A", 3)


def test_a_line_is_cut_by_columns_not_by_its_colours() -> None:
    assert joined([("abc", "red"), ("defg", "bold")], True, limit=5) == "\x1b[31mabc\x1b[0m\x1b[1mde\x1b[0m"
    assert joined([("日本語", "")], False, limit=5) == "日本"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 m 00 s"),
        (125, "2 m 05 s"),
        (7620, "2 h 07 m"),
        (273600, "3 d 4 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_no_time_is_a_dash() -> None:
    assert local_time(None) == local_time("") == "-"
