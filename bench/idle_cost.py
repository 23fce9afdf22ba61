"""What the daemon costs while nobody calls: processor time and memory of each worker. See README.md beside this file."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from installation import machine, running
from processes import LIBRARIES, family, memory, processor_seconds, with_bytecode

# After the start: first runs of the jobs, first heartbeats.
SETTLE_SECONDS = 8.0
GOAL_MEGABYTES = 400.0
GOAL_PERCENT = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=20.0, help="how long to watch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orch-bench-bytecode-") as folder:
        os.environ.update(with_bytecode(Path(folder)))
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        with running() as installation:
            time.sleep(SETTLE_SECONDS)
            status = installation.status()
            families = {"supervisor": [status["supervisor"]["pid"]]} | {row["name"]: family(row["pid"]) for row in status["workers"]}
            before = {name: sum(map(processor_seconds, pids)) for name, pids in families.items()}
            began = time.monotonic()
            time.sleep(options.seconds)
            took = time.monotonic() - began
            percent = {name: (sum(map(processor_seconds, pids)) - before[name]) / took * 100 for name, pids in families.items()}
            sizes = {name: [sum(each) for each in zip(*map(memory, pids), strict=True)] for name, pids in families.items()}
            bare = {name: _bare_memory(modules) for name, modules in LIBRARIES.items()}
    print(f"machine: {machine()}\n")
    print(f"{'':18} {'CPU':>8} {'RSS':>9} {'PSS':>9}   bare libraries: RSS, PSS")
    for name, (rss, pss) in sizes.items():
        beside = f"{bare[name][0]:6.0f} MB {bare[name][1]:6.0f} MB" if name in bare else ""
        print(f"{name:18} {percent[name]:6.2f} % {rss:6.0f} MB {pss:6.0f} MB   {beside}   {len(families[name])} process(es)")
    rss, pss = (sum(size[which] for size in sizes.values()) for which in (0, 1))
    print(f"{'all':18} {sum(percent.values()):6.2f} % {rss:6.0f} MB {pss:6.0f} MB   {sum(b[0] for b in bare.values()):6.0f} MB")
    print(f"ratio to the bare libraries, RSS: {rss / sum(b[0] for b in bare.values()):.2f}")
    small, quiet = pss <= GOAL_MEGABYTES, max(percent.values()) < GOAL_PERCENT
    print(f"\ngoal, at most {GOAL_MEGABYTES:.0f} MB in all (PSS: shared pages counted once): {'reached' if small else 'MISSED'}")
    print(f"goal, less than {GOAL_PERCENT:g} % of a core for each: {'reached' if quiet else 'MISSED'}")
    return 0 if small and quiet else 1


def _bare_memory(modules: str) -> tuple[float, float]:
    """Taken while the daemon runs, so that pages of shared libraries are shared with as many."""
    program = f"import {modules}; print('ready', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = memory(process.pid)
        process.kill()
    return found


if __name__ == "__main__":
    sys.exit(main())
