"""64 MiB of log: what it costs the worker that writes it, and the supervisor meanwhile. See README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from installation import machine, running
from processes import processor_seconds

from workers.control import ask

MEBIBYTE = 1024 * 1024
GOAL_SUPERVISOR_SECONDS = 0.1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mebibytes", nargs="?", type=int, default=64)
    parser.add_argument("--heartbeat-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--write-to", type=Path, help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args()
    if options.write_to is not None:
        return _worker(options.write_to, options.mebibytes, options.heartbeat_fd)
    with tempfile.TemporaryDirectory(prefix="orch-bench-logs-") as folder, running() as installation:
        made = Path(folder)
        command = [sys.executable, __file__, str(options.mebibytes), "--write-to", folder]
        roster = made / "roster.json"
        roster.write_text(json.dumps({"workers": [{"name": "writer", "command": command}]}))
        installation.orch("stop-all", "--now", "--yes")
        installation.orch("start-all", "--roster", str(roster))
        supervisor = installation.status()["supervisor"]["pid"]
        before = processor_seconds(supervisor)
        (made / "go").touch()
        done = made / "done"
        # Not by asking the supervisor, whose rest is what is measured.
        while not done.exists():
            time.sleep(0.05)
        used = processor_seconds(supervisor) - before
        ask(installation.home / "run", {"do": "stop", "worker": "writer", "now": True})
        report = json.loads(done.read_text())
        broken, lines, size = _read(made / "logs")
    plain = _plain(size)
    print(f"machine: {machine()}\n")
    print(f"written through structlog and our file: {report['lines']} lines, {size / MEBIBYTE:.1f} MiB, in {report['seconds']:.1f} s")
    print(f"the same bytes, a write a line, by nothing but os.write: {plain:.2f} s; ratio {report['seconds'] / plain:.0f}")
    print(f"a line: {report['seconds'] / report['lines'] * 1e6:.0f} us")
    print(f"processor time of the supervisor meanwhile: {used:.3f} s")
    print(f"lines read back: {lines}, broken: {broken}, missing: {report['lines'] - lines}")
    reached = not broken and lines == report["lines"] and used < GOAL_SUPERVISOR_SECONDS
    print(f"goal, no line broken or missing, supervisor below {GOAL_SUPERVISOR_SECONDS:g} s: {'reached' if reached else 'MISSED'}")
    return 0 if reached else 1


def _worker(folder: Path, mebibytes: int, heartbeat: int | None) -> int:
    """The one that writes: with the files big and many enough that none is thrown away."""
    from core import logs

    (folder / "logs").mkdir()
    logs.configure("writer", folder / "logs", "info", max_mb=max(20, mebibytes // logs.BACKUPS + 1))
    log = logs.get_logger()
    if heartbeat is not None:
        os.write(heartbeat, b"{}\n")
    while not (folder / "go").exists():
        time.sleep(0.01)
    written = lines = 0
    began = time.monotonic()
    while written < mebibytes * MEBIBYTE:
        for _ in range(1000):
            log.info(
                "call.turn",
                call_id="0123456789abcdef0123456789abcdef",
                turn=lines,
                heard="it went rather well",
                ms=12.5,
                phone="+12025550123",
            )
            lines += 1
            if lines % 5000 == 0 and heartbeat is not None:
                os.write(heartbeat, b"{}\n")
        written = sum(path.stat().st_size for path in (folder / "logs").iterdir())
    report = {"seconds": time.monotonic() - began, "lines": lines}
    part = folder / "part"
    part.write_text(json.dumps(report))
    part.rename(folder / "done")
    while True:
        if heartbeat is not None:
            os.write(heartbeat, b"{}\n")
        time.sleep(1.0)


def _read(folder: Path) -> tuple[int, int, int]:
    """Broken lines, whole lines, bytes."""
    broken = whole = size = 0
    for path in folder.iterdir():
        size += path.stat().st_size
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                whole += json.loads(line)["event"] == "call.turn" and line.endswith(b"\n")
            except (ValueError, KeyError):
                broken += 1
    return broken, whole, size


def _plain(size: int) -> float:
    line = b"x" * 199 + b"\n"
    with tempfile.TemporaryFile(prefix="orch-bench-plain-") as file:
        began = time.monotonic()
        for _ in range(size // len(line)):
            os.write(file.fileno(), line)
        return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
