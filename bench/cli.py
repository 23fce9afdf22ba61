"""How long the commands take that people and scripts run all day. See README.md beside this file."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from installation import ORCH, machine, running

GOAL_SECONDS = 0.150
GOALS = ("orch --help", "orch status --json")
# What a command takes on a machine with nothing else to do is its processor time: none of these waits for anything.

# The same parser with nothing of ours behind it: what is above it is ours to answer for.
BARE_TYPER = """
import typer
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
@app.callback()
def _main() -> None:
    "A bare application."
@app.command()
def status(json: bool = typer.Option(False, "--json")) -> None:
    "Prints an object."
    typer.echo("{}")
app()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=int, default=20, help="of each command, in turns; the least counts")
    options = parser.parse_args()
    orch = str(ORCH)
    with running() as installation, tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE_TYPER)
        commands: dict[str, list[str]] = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "bare typer, --help": [sys.executable, str(bare), "--help"],
            "bare typer, a command": [sys.executable, str(bare), "status", "--json"],
            "orch --help": [orch, "--help"],
            "orch status --json": [orch, "status", "--json"],
            "orch status": [orch, "status"],
            "orch logs": [orch, "logs"],
            "orch jobs --json": [orch, "jobs", "--json"],
            "orch config show": [orch, "config", "show"],
            "orch contact list --json": [orch, "contact", "list", "--json"],
        }
        # As after the first use of an installation: where byte code is not kept, each command compiles all it imports.
        environment = {**installation.environment, "PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for command in commands.values():
            _took(command, environment)
        before = machine()
        least = {name: (float("inf"), float("inf")) for name in commands}
        for _ in range(options.runs):
            for name, command in commands.items():
                wall, cpu = _took(command, environment)
                least[name] = (min(least[name][0], wall), min(least[name][1], cpu))
        after = machine()
    print(f"machine: {before} at the start, {after} at the end; least of {options.runs}\n")
    print(f"{'':26} {'wall':>8} {'cpu':>8} {'/ python':>9} {'/ typer':>9}")
    python, typer = least["python -c pass"][1], least["bare typer, a command"][1]
    for name, (wall, cpu) in least.items():
        print(f"{name:26} {wall * 1000:5.0f} ms {cpu * 1000:5.0f} ms {cpu / python:9.1f} {cpu / typer:9.2f}")
    print()
    missed = [name for name in GOALS if min(least[name]) > GOAL_SECONDS]
    for name in GOALS:
        print(f"goal, {name} within {GOAL_SECONDS * 1000:.0f} ms: {'MISSED' if name in missed else 'reached'}")
    return 1 if missed else 0


def _took(command: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall and processor seconds of one run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
    wall = time.perf_counter() - began
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
