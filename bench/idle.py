"""A daemon with nothing to do: how often it writes to its database, and what it costs. See README.md beside this file."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import time
from pathlib import Path

from installation import machine, running

# After the start: first runs of the jobs, first heartbeats.
SETTLE_SECONDS = 8.0
POLL_SECONDS = 0.02


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=10.0, help="how long to watch")
    options = parser.parse_args()
    with running() as installation:
        time.sleep(SETTLE_SECONDS)
        status = installation.status()
        pids = {"supervisor": status["supervisor"]["pid"], **{row["name"]: row["pid"] for row in status["workers"]}}
        families = {name: [pid] if name == "supervisor" else _family(pid) for name, pid in pids.items()}
        before = {name: _cpu_seconds(family) for name, family in families.items()}
        began = time.monotonic()
        commits = _commits(installation.home / "data" / "orch.db", options.seconds)
        took = time.monotonic() - began
        after = {name: _cpu_seconds(family) for name, family in families.items()}
        ran = sum(
            job["last_run"] != old["jobs"][name]["last_run"]
            for old, row in zip(status["workers"], installation.status()["workers"], strict=True)
            for name, job in row["jobs"].items()
        )
    print(f"machine: {machine()}\n")
    for name in pids:
        print(f"{name:18} {(after[name] - before[name]) / took * 100:5.2f} % of a core, {len(families[name])} process(es)")
    print(f"{'all':18} {sum(after[name] - before[name] for name in pids) / took * 100:5.2f} % of a core")
    print(f"\ncommits seen in {took:.0f} s: {commits} ({ran} job(s) ran and found nothing to do)")
    print(f"goal, no commit while idle: {'reached' if commits == 0 else 'MISSED'}")
    return 0 if commits == 0 else 1


def _commits(path: Path, seconds: float) -> int:
    """Changes of `PRAGMA data_version`: none is exact, several within one look count once."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    try:
        (seen,) = connection.execute("PRAGMA data_version").fetchone()
        changes = 0
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            changes += version != seen
            seen = version
        return changes
    finally:
        connection.close()


def _family(pid: int) -> list[int]:
    """The process and all below it: speech decoders are the media server's."""
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [pid, *(found for child in children for found in _family(child))]


def _cpu_seconds(pids: list[int]) -> float:
    """User and system time so far, fields 14 and 15 of proc_pid_stat(5)."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
