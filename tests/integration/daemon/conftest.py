"""Real supervisors over small dummy workers, ended by pid whatever the test does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import NotRunning
from workers.control import ask

CHECKOUT = Path(__file__).resolve().parents[3]
DUMMY = Path(__file__).with_name("dummy_worker.py")
DEADLINE = 20.0


class Daemon:
    """One supervisor with its home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.run = home / "run"
        self.logs = home / "logs"
        self.process: subprocess.Popen[bytes] | None = None
        self._seen: set[int] = set()
        for folder in (self.run, self.logs):
            folder.mkdir(parents=True, exist_ok=True)

    def write_roster(self, **workers: dict[str, Any] | Sequence[object]) -> Path:
        """`name=("crash", 2)`, or `name={"command": ("steady",), "drain_seconds": 3}`; `_` in a name reads as `-`."""
        entries = []
        for name, given in workers.items():
            fields = dict(given) if isinstance(given, dict) else {"command": given}
            fields["command"] = [sys.executable, str(DUMMY), *map(str, fields["command"])]
            entries.append({"name": name.replace("_", "-"), **fields})
        path = self.home / "test-roster.json"
        path.write_text(json.dumps({"workers": entries}))
        return path

    def start(self, **workers: dict[str, Any] | Sequence[object]) -> None:
        """Start the supervisor and wait for its socket."""
        self.start_supervisor(self.write_roster(**workers))
        self.wait_for(self.alive_status, "the control socket")

    def start_supervisor(self, roster: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "workers.supervisor", f"--home={self.home}", f"--roster={roster}"]
        with (self.home / "supervisor.err").open("ab") as err:
            self.process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=err, stderr=err, start_new_session=True)
        self._seen.add(self.process.pid)
        return self.process

    def status(self) -> dict[str, Any]:
        answer = ask(self.run, {"do": "status"})
        self._seen.add(answer["supervisor"]["pid"])
        self._seen.update(row["pid"] for row in answer["workers"] if row["pid"])
        return answer

    def alive_status(self) -> dict[str, Any] | None:
        with contextlib.suppress(NotRunning):
            return self.status()
        return None

    def worker(self, name: str) -> dict[str, Any]:
        return next(row for row in self.status()["workers"] if row["name"] == name)

    def wait_state(self, name: str, state: str, seconds: float = DEADLINE) -> dict[str, Any]:
        row: dict[str, Any] = self.wait_for(lambda: (row := self.worker(name))["state"] == state and row, f"{name} to be {state}", seconds)
        return row

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() >= deadline:
                pytest.fail(f"waited {seconds:g} s for {what}\n{self.log_text()}")
            time.sleep(0.02)
        return found

    def events(self, event: str) -> list[dict[str, Any]]:
        path = self.logs / "supervisor.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in map(json.loads, lines) if line["event"] == event]

    def log_text(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in sorted(self.logs.glob("*")) if path.is_file())

    def end(self) -> None:
        with contextlib.suppress(NotRunning):
            self.status()
        for pid in self._seen:
            if "workers.supervisor" in command_of(pid) or str(DUMMY) in command_of(pid) or "runtime_worker" in command_of(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(timeout=10)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    it = Daemon(tmp_path / "home")
    yield it
    it.end()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class SmallDisk:
    """A file system of 8 MB."""

    def __init__(self, folder: Path) -> None:
        self._filling = folder / "filling"

    def fill(self) -> None:
        """Until not a byte more fits."""
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError), self._filling.open("ab", buffering=0) as filling:
                while filling.write(b"x" * size):
                    pass

    def empty(self) -> None:
        self._filling.unlink()


@pytest.fixture
def small_disk(daemon: Daemon) -> Iterator[SmallDisk]:
    """The daemon's home is on it. Only root can make one."""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(daemon.home)], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("no file system can be mounted here")
    for folder in (daemon.run, daemon.logs):
        folder.mkdir()
    yield SmallDisk(daemon.home)
    daemon.end()
    subprocess.run(["umount", "--lazy", str(daemon.home)], check=True)
