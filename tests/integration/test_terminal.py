"""orch on a terminal: a real pseudo-terminal, a daemon of small workers, and what a person sees and types."""

from __future__ import annotations

import json
import os
import signal
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pyte
import pytest

from core.errors import NotRunning
from workers.control import ask

PROGRAM = f"{sysconfig.get_path('scripts')}/orch"
WORKER = Path(__file__).parent / "daemon" / "dummy_worker.py"
ROWS, COLUMNS = 24, 130
PATIENCE = 30.0
# Ctrl-C ends a command within a second; the rest is a busy machine's.
SOON = 5.0


class Terminal:
    """`orch WORDS` on a terminal, and its screen as a person sees it."""

    def __init__(self, home: Path, *words: str) -> None:
        environment = {**os.environ, "ORCH_HOME": str(home), "TERM": "xterm-256color", "COLUMNS": "", "LINES": ""}
        self.child = pexpect.spawn(PROGRAM, list(words), env=environment, dimensions=(ROWS, COLUMNS), timeout=PATIENCE, encoding=None)
        self.written = b""
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)

    def read(self) -> None:
        """What was written by now."""
        try:
            data = self.child.read_nonblocking(65536, timeout=0.05)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return
        self.written += data
        self._stream.feed(data)

    @property
    def rows(self) -> list[str]:
        return [row.rstrip() for row in self._screen.display]

    def until(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            self.read()
            if found := condition():
                return found
            if time.monotonic() >= deadline:
                pytest.fail(f"{what} was not seen within {seconds:g} s; the screen:\n" + "\n".join(self.rows))

    def shows(self, text: str) -> bool:
        return any(text in row for row in self.rows)

    def resize(self, rows: int, columns: int) -> None:
        self._screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def interrupt(self) -> int:
        """Ctrl-C, and the exit code of what it ended."""
        self.child.sendintr()
        return self.ended()

    def ended(self, seconds: float = SOON) -> int:
        deadline = time.monotonic() + seconds
        while self.child.isalive():
            self.read()
            assert time.monotonic() < deadline, f"it goes on after {seconds:g} s:\n" + "\n".join(self.rows)
        self.read()
        code: int = self.child.exitstatus if self.child.exitstatus is not None else -self.child.signalstatus
        return code

    def close(self) -> None:
        self.child.close(force=True)


@pytest.fixture(scope="module")
def open_terminal() -> Iterator[Callable[..., Terminal]]:
    """Terminals that are closed after the module, and the daemons that were started on them."""
    opened: list[Terminal] = []
    homes: set[Path] = set()

    def make(home: Path, *words: str) -> Terminal:
        homes.add(home)
        opened.append(Terminal(home, *words))
        return opened[-1]

    yield make
    for terminal in opened:
        terminal.close()
    for home in homes:
        try:
            os.kill(ask(home / "run", {"do": "status"})["supervisor"]["pid"], signal.SIGKILL)
        except (NotRunning, ProcessLookupError):
            continue


def start_foreground(home: Path, open_terminal: Callable[..., Terminal]) -> Terminal:
    home.mkdir()
    command = [sys.executable, str(WORKER), "steady"]
    roster = home / "roster.json"
    roster.write_text(json.dumps({"workers": [{"name": name, "command": command} for name in ("window-scheduler", "call-scheduler")]}))
    terminal = open_terminal(home, "start-all", "--foreground", "--roster", str(roster))
    terminal.until(lambda: terminal.shows("Ctrl-C stops orch"), "the daemon's start")
    return terminal


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, open_terminal: Callable[..., Terminal]) -> Path:
    """Of a daemon that runs."""
    made: Path = tmp_path_factory.mktemp("terminal") / "home"
    start_foreground(made, open_terminal)
    return made


def test_in_the_foreground_ctrl_c_ends_the_daemon(tmp_path: Path, open_terminal: Callable[..., Terminal]) -> None:
    terminal = start_foreground(tmp_path / "home", open_terminal)
    assert terminal.shows("all 2 workers are ready")
    assert terminal.interrupt() == 0
    assert terminal.shows("orch is stopped")
    with pytest.raises(NotRunning):
        ask(tmp_path / "home" / "run", {"do": "status"})


def test_watching_draws_without_flicker_and_leaves_the_terminal_as_it_was(home: Path, open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal(home, "status", "--watch", "--interval", "0.2")
    terminal.until(lambda: terminal.written.count(b"\x1b[H") >= 4, "the fourth frame")
    terminal.until(lambda: terminal.shows("Ctrl-C ends"), "a whole frame")
    assert terminal.rows[0].startswith("orch is running: supervisor pid ")
    assert [row.split()[:2] for row in terminal.rows[3:6]] == [
        ["NAME", "STATE"],
        ["window-scheduler", "running"],
        ["call-scheduler", "running"],
    ]
    assert b"\x1b[32mrunning" in terminal.written, "a terminal has colours"
    assert b"\x1b[2J" not in terminal.written, "a screen that is cleared flickers"
    assert terminal.interrupt() == 130
    # Cursor and screen are given back, and the last frame stays readable.
    assert b"\x1b[?25h\x1b[?1049l" in terminal.written
    assert terminal.written.count(b"\x1b[?1049h") == terminal.written.count(b"\x1b[?1049l") == 1
    last = terminal.written.rpartition(b"\x1b[?1049l")[2]
    assert b"window-scheduler" in last
    assert b"Traceback" not in last


def test_watching_follows_the_size_of_the_window(home: Path, open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal(home, "status", "--watch", "--interval", "0.2")
    terminal.until(lambda: terminal.shows("call-scheduler"), "the table")
    terminal.resize(4, 60)
    terminal.until(lambda: terminal.rows[3] == "... 5 more lines", "the end that does not fit", 10)
    assert max(map(len, terminal.rows)) <= 60
    os.kill(terminal.child.pid, signal.SIGTERM)
    assert terminal.ended() == 130
    assert b"\x1b[?25h\x1b[?1049l" in terminal.written


def test_following_goes_through_a_rotation_and_ends_on_ctrl_c(home: Path, open_terminal: Callable[..., Terminal]) -> None:
    log = home / "logs" / "media-server.log"

    def write(event: str) -> None:
        with log.open("a") as file:
            file.write(json.dumps({"ts": "2026-03-08T12:00:00.000Z", "level": "warning", "worker": "media-server", "event": event}) + "\n")

    write("before")
    terminal = open_terminal(home, "logs", "--follow", "--worker", "media", "--worker", "supervisor")
    terminal.until(lambda: terminal.shows("before"), "what was there")
    assert terminal.shows("supervisor   | supervisor.started"), "the names are padded to one width"
    write("while")
    terminal.until(lambda: terminal.shows("| while"), "what is written now")
    log.rename(log.with_name("media-server.log.1"))
    write("after the rotation")
    terminal.until(lambda: terminal.shows("| after the rotation"), "what is written into the new file")
    assert b"\x1b[33mwarning" in terminal.written
    assert terminal.interrupt() == 130
    assert b"Traceback" not in terminal.written


def test_waiting_says_what_it_waits_for_and_ends_on_ctrl_c(home: Path, open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal(home, "status", "--wait", "stopped")
    terminal.until(lambda: terminal.shows("waiting for window-scheduler (running), call-scheduler (running)"), "what it waits for")
    assert terminal.interrupt() == 130
