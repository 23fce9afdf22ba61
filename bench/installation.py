"""A daemon of its own for a measurement: a folder that is thrown away, free ports, and an end in every case."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

ORCH = Path(sysconfig.get_path("scripts")) / "orch"
PORTS = ("ORCH_PORT", "ORCH_MEDIA_PORT", "ORCH_SIMULATOR_PORT")
ZONES = ("America/New_York", "America/Los_Angeles", "Pacific/Honolulu", "Pacific/Auckland", "Asia/Tokyo", "Asia/Kolkata", "Europe/Berlin")


class Installation:
    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home, self.environment = home, environment

    def orch(self, *words: str) -> str:
        """What the command wrote. Raises RuntimeError when it fails."""
        ran = subprocess.run(
            [ORCH, *words], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False
        )
        if ran.returncode:
            raise RuntimeError(f"orch {' '.join(words)} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return ran.stdout

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.orch("status", "--json"))
        return found


@contextmanager
def running(**settings: str) -> Iterator[Installation]:
    """A started daemon. This process's own environment then has its settings, so that `core` may be used on it."""
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="orch-bench-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        with ExitStack() as listeners:
            ports = {}
            for name in PORTS:
                listener = listeners.enter_context(socket.create_server(("127.0.0.1", 0)))
                ports[name] = str(listener.getsockname()[1])
        os.environ.update({"ORCH_HOME": str(home), "NO_COLOR": "1", "ORCH_SIMULATOR_WEATHER": "calm", **ports, **settings})
        made = Installation(home, dict(os.environ))
        stack.callback(_end, made)
        made.orch("start-all", "--wait", "180")
        yield made


def _end(made: Installation) -> None:
    pids: list[int] = []
    with suppress(RuntimeError, ValueError):
        status = made.status()
        pids = [status["supervisor"]["pid"], *(row["pid"] for row in status["workers"] if row["pid"])]
    with suppress(RuntimeError, subprocess.TimeoutExpired):
        made.orch("stop-all", "--now", "--yes")
    for pid in pids:
        with suppress(OSError):
            if str(made.home).encode() in Path(f"/proc/{pid}/environ").read_bytes():
                os.kill(pid, signal.SIGKILL)


def daytime_zone() -> str:
    """A zone in which it is the middle of the day now, so that no rule about hours stands in the way."""
    now = datetime.now(UTC)
    return min(ZONES, key=lambda name: abs(now.astimezone(ZoneInfo(name)).hour - 13))


def percentile(sorted_values: list[float], share: float) -> float:
    """Nearest rank: a value that was really measured."""
    return sorted_values[min(len(sorted_values) - 1, max(0, -(-int(share * 1000) * len(sorted_values) // 1000) - 1))]


def machine() -> str:
    """The load is part of the result: on a busy machine every number here is worse."""
    one, five, _ = os.getloadavg()
    return f"{os.cpu_count()} cores, load average {one:.1f} (1 min) {five:.1f} (5 min)"
