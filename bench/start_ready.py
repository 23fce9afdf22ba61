"""From `orch start-all` to all workers ready. See README.md beside this file."""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from installation import Installation, machine, running
from processes import DECODER, LIBRARIES, family, processor_seconds, summary, with_bytecode

from workers.control import ask

GOAL_SECONDS = 3.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("starts", nargs="?", type=int, default=7, help="how often to start")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orch-bench-bytecode-") as folder:
        os.environ.update(with_bytecode(Path(folder)))
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        # This first start makes the database and compiles whatever was never run; it is not counted.
        with running() as installation:
            print(f"machine: {machine()}\n")
            taken, bare, worked = [], [], []
            _bare_start()
            for _ in range(options.starts):
                _stop(installation)
                bare.append(_bare_start())
                began = time.monotonic()
                installation.orch("start-all")
                taken.append(time.monotonic() - began)
                pids = [pid for row in ask(installation.home / "run", {"do": "status"})["workers"] for pid in family(row["pid"])]
                worked.append(sum(map(processor_seconds, pids)))
            print(f"machine: {machine()} at the end\n")
    print(f"orch start-all, until it says that all are ready: {summary(taken)} (n={len(taken)})")
    print(f"six Pythons at once that only import the libraries: {summary(bare)}")
    print(f"ratio of the medians: {statistics.median(taken) / statistics.median(bare):.2f}")
    print(f"on a processor for it, all workers together: {summary(worked)}")
    reached = statistics.median(taken) <= GOAL_SECONDS
    print(f"goal, median of at most {GOAL_SECONDS:g} s: {'reached' if reached else 'MISSED'}")
    return 0 if reached else 1


def _stop(installation: Installation) -> None:
    installation.orch("stop-all", "--now", "--yes")


def _bare_start() -> float:
    """Seconds until all have imported; they are started as the supervisor starts its workers, all at once."""
    began = time.monotonic()
    # The media server starts a speech decoder, too.
    programs = [f"import {modules}; print('ready', flush=True); input()" for modules in (*LIBRARIES.values(), DECODER)]
    bare = [subprocess.Popen([sys.executable, "-c", each], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for each in programs]
    for process in bare:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    took = time.monotonic() - began
    for process in bare:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return took


if __name__ == "__main__":
    sys.exit(main())
