"""What the commands that stop something have in common: what they wait for, what they would cut, why a start failed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import exits

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before calls are cut.")]


def live_calls(status: dict[str, Any]) -> int:
    """How many people are on the phone, as far as the workers say. The same call is seen by several of them."""
    seen = [row["extra"].get("live_calls") for row in status["workers"]]
    seen += [row["in_flight"] for row in status["workers"] if row["name"] == "media-server"]
    return max((number for number in seen if isinstance(number, int)), default=0)


def confirm_cutting(calls: int, what: str, yes: bool) -> None:
    """Ask before `what` cuts live calls; without a terminal, refuse. Raises InvalidInput, or leaves with exit code 1 on a no."""
    if not calls or yes:
        return
    live = f"{calls} live call{'' if calls == 1 else 's'}"
    if not sys.stdin.isatty():
        from core.errors import InvalidInput

        raise InvalidInput(f"`{what}` would cut {live}; say --yes if that is meant")
    if not typer.confirm(f"`{what}` will cut {live}. Go on?", err=True):
        raise typer.Exit(exits.FAILED)


class Progress:
    """What a drain waits for: a line when something ended, and each ten seconds."""

    def __init__(self) -> None:
        self._told = ""

    def tell(self, workers: Sequence[Mapping[str, Any]]) -> None:
        from cli.render import duration, note

        waiting = [row for row in workers if row["state"] == "stopping" and (row["in_flight"] or 0) > 0]
        key = "; ".join(f"{row['name']}{row['in_flight']}{int((row['stop_in_seconds'] or 0) // 10)}" for row in waiting)
        if waiting and key != self._told:
            note("; ".join(f"{row['name']}: {_in_flight(row)}, {duration(row['stop_in_seconds'])} left" for row in waiting))
            self._told = key


def _in_flight(row: Mapping[str, Any]) -> str:
    number = row["in_flight"]
    return (
        f"{number} job{'' if number == 1 else 's'}" if row["name"] == "window-scheduler" else f"{number} call{'' if number == 1 else 's'}"
    )


def tell_why_not(log_folder: Path, row: Mapping[str, Any]) -> None:
    from cli.render import error_line, render_log_line
    from workers.logfiles import last_words

    reason = row["problem"] or ("not ready yet" if row["state"] == "starting" else f"is {row['state']}")
    error_line(f"{row['name']}: {reason}; its last lines:")
    for line in last_words(log_folder, row["name"], 10):
        sys.stderr.write(f"    {render_log_line(line.keys, line.raw, 0) if line.keys else line.raw}\n")
