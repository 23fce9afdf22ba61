"""`orch logs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.names import complete_worker

if TYPE_CHECKING:
    from workers.logfiles import Line

_LEVEL_STYLES = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}
_PREFIX_STYLES = ("cyan", "magenta", "green", "blue", "yellow", "bright_cyan", "bright_magenta")


def logs(
    worker: Annotated[
        list[str] | None,
        typer.Option("--worker", "-w", metavar="NAME", help="Only this worker; may be repeated.", autocompletion=complete_worker),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
    tail: Annotated[int, typer.Option("--tail", "-n", metavar="N", min=0, help="How many lines to begin with.")] = 100,
    level: Annotated[str, typer.Option("--level", help="This level and graver ones: debug, info, warning, error.")] = "debug",
    raw: Annotated[bool, typer.Option("--raw", "--json", help="The JSON lines as they are; also what a pipe gets.")] = False,
) -> None:
    """Show the logs of the workers, in order of time.

    Examples: `orch logs -f`, `orch logs --worker call --level warning`, `orch logs --raw --tail 1000 | jq .event`.
    """
    from cli.home import log_folder
    from cli.names import resolve_worker
    from cli.render import note, to_people
    from core.errors import InvalidInput
    from workers import logfiles
    from workers.roster import SUPERVISOR, WORKER_NAMES

    folder = log_folder()
    # Also those of an earlier roster: their logs are still there to be read.
    known = [*WORKER_NAMES, SUPERVISOR]
    known += sorted(path.stem for path in folder.glob("*.log") if path.stem not in known)
    names = [resolve_worker(name, known) for name in worker] if worker else known
    if level not in logfiles.LEVELS:
        raise InvalidInput(f"no level is called {level!r}; levels: {', '.join(logfiles.LEVELS)}")
    wanted = logfiles.at_least(level)
    raw = raw or not to_people()
    sources = [logfiles.WorkerLog(folder, name) for name in names]
    width = max(len(name) for name in names)
    lines = logfiles.tail(sources, tail, wanted)
    show(lines, width=width, raw=raw)
    if not lines and not follow:
        note(f"nothing logged yet in {folder}")
    if follow:
        for batch in logfiles.follow(sources, wanted):
            show(batch, width=width, raw=raw)


def show(lines: Sequence[Line], *, width: int, raw: bool) -> None:
    """Write the lines, with the workers' names padded to `width`, or as they are."""
    from cli.render import console, render_log_line

    if not lines:
        return
    if raw:
        sys.stdout.write("".join(f"{line.raw}\n" for line in lines))
        sys.stdout.flush()
        return
    from rich.text import Text

    for line in lines:
        text = Text(render_log_line(line.keys, line.raw, width))
        keys = line.keys or {}
        name = str(keys.get("worker", ""))
        text.stylize(_LEVEL_STYLES.get(str(keys.get("level")), ""), 13, 20)
        text.stylize(_PREFIX_STYLES[sum(name.encode()) % len(_PREFIX_STYLES)], 21, 21 + width)
        console().print(text)


def register(app: typer.Typer) -> None:
    app.command("logs")(logs)
