"""From the kill -9 of a worker to its replacement ready. See README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from installation import Installation, machine, running
from processes import family, processor_seconds, summary, with_bytecode

from workers.control import ask

GOAL_SECONDS = 1.0
PATIENCE = 60.0
SHELL = 'for a in "$@"; do case "$a" in --heartbeat-fd=*) echo "{}" >/proc/self/fd/"${a#*=}";; esac; done; exec sleep 600'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", nargs="?", type=int, default=5, help="of each worker")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orch-bench-bytecode-") as folder:
        os.environ.update(with_bytecode(Path(folder)))
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        with running() as installation:
            print(f"machine: {machine()}\n")
            names = [row["name"] for row in _rows(installation.home)]
            found = {name: [_replaced(installation, name) for _ in range(options.kills)] for name in names}
            worst = max(statistics.median(wall for wall, _ in each) for each in found.values())
            for name, each in found.items():
                work = statistics.median(processor for _, processor in each)
                print(f"{name:18} {summary([wall for wall, _ in each])}; {work:.2f} s on a processor")
        with running() as installation:
            _with_a_shell(installation)
            floor = [_replaced(installation, "shell")[0] for _ in range(options.kills)]
    print(f"{'floor: a shell':18} {summary(floor)} (what our supervisor adds)")
    print(f"\nmachine: {machine()} at the end")
    reached = worst <= GOAL_SECONDS
    print(f"goal, each worker's median at most {GOAL_SECONDS:g} s: {'reached' if reached else 'MISSED'} (slowest {worst:.2f} s)")
    return 0 if reached else 1


def _with_a_shell(installation: Installation) -> None:
    """The daemon with a worker that needs no time at all in place of the usual ones."""
    installation.orch("stop-all", "--now", "--yes")
    roster = installation.home / "shell.json"
    roster.write_text(json.dumps({"workers": [{"name": "shell", "command": ["sh", "-c", SHELL, "worker"]}]}))
    installation.orch("start-all", "--roster", str(roster))


def _rows(home: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ask(home / "run", {"do": "status"})["workers"]
    return rows


def _replaced(installation: Installation, name: str) -> tuple[float, float]:
    """Kill it, and wait. Seconds that took, and that its replacement and its children were on a processor for it.

    The restart before it puts its back-off back: measured is a first crash, not the fifth in a row.
    """

    def row() -> dict[str, Any]:
        return next(row for row in _rows(installation.home) if row["name"] == name)

    ask(installation.home / "run", {"do": "restart", "worker": name, "now": True})
    _wait(lambda: row()["state"] == "running")
    # Its first jobs, and what was left over by the others.
    time.sleep(1.0)
    before = row()["pid"]
    began = time.monotonic()
    os.kill(before, 9)
    _wait(lambda: (now := row())["state"] == "running" and now["pid"] != before)
    took = time.monotonic() - began
    return took, sum(map(processor_seconds, family(row()["pid"])))


def _wait(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing came back within {PATIENCE:g} s")
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
