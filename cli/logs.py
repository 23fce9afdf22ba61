"""`orch logs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import complete_level, complete_log

if TYPE_CHECKING:
    from pathlib import Path

    from cli.logquery import CallLines
    from workers.logfiles import Line, Wanted, WorkerLog

DEFAULT_TAIL = 100
_PREFIX_STYLES = ("cyan", "magenta", "green", "blue", "yellow", "bright_cyan", "bright_magenta", "bright_green")


def logs(
    worker: Annotated[
        list[str] | None,
        typer.Option("--worker", "-w", metavar="NAME", help="Only this worker; may be repeated.", autocompletion=complete_log),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on, until Ctrl-C.")] = False,
    tail: Annotated[
        int | None,
        typer.Option(
            "--tail", "-n", metavar="N", min=0, help="How many lines to begin with. Default: 100; all with --since, --call or --previous."
        ),
    ] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="From then on: 10m, 1h30m, 14:05, or an ISO time.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Up to then; written as --since.")] = None,
    level: Annotated[
        str,
        typer.Option(
            "--level",
            metavar="LEVEL",
            help="This level and graver ones: debug, info, warning, error, critical.",
            autocompletion=complete_level,
        ),
    ] = "debug",
    grep: Annotated[str | None, typer.Option("--grep", "-g", metavar="REGEX", help="Only lines in which this is found.")] = None,
    call: Annotated[
        str | None,
        typer.Option("--call", metavar="ID", help="Only lines about this call: our id, an attempt's, the carrier's, or how one begins."),
    ] = None,
    previous: Annotated[
        bool, typer.Option("--previous", "-p", help="Of the process before this one: its last log lines, and what it printed as it died.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The lines as they are in the files; also what a pipe gets.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, whatever the line was.")] = False,
) -> None:
    """Show the logs of the workers, in order of time.

    On a terminal each line is `time level worker | event key=value ...`. Times are this machine's.

    orch logs --follow
    orch logs --worker call --level warning --since 1h
    orch logs --call 3f2a91c0
    orch logs --worker media --previous
    orch logs --json --tail 1000 | jq .event
    """
    from contextlib import ExitStack
    from datetime import UTC, datetime

    from cli import logquery
    from cli.home import log_folder
    from cli.render import note, to_people
    from core.errors import InvalidInput
    from workers import logfiles

    folder = log_folder()
    names = _named(worker, folder)
    now = datetime.now(UTC)
    level = logquery.known_level(level)
    first = logquery.stamp(logquery.instant(since, "--since", now)) if since else ""
    last = logquery.stamp(logquery.instant(until, "--until", now)) if until else ""
    if last and last < first:
        raise InvalidInput(f"--until {until} is before --since {since}")
    matching = logquery.pattern(grep) if grep else None
    writer = Writer(names, people=to_people() and not (raw or as_json), as_json=as_json)
    count = tail if tail is not None else None if since or call or previous else DEFAULT_TAIL
    if previous:
        if follow:
            raise InvalidInput("--previous is about a process that has ended; leave out --follow, or --previous")
        wanted = logquery.selection(level=level, since=first, until=last, grep=matching)
        found = logfiles.merged([logquery.of_previous_process(folder, name) for name in names])
        writer.write(_last([line for line in found if wanted(line)], count))
        if not found:
            note(f"no process of {' or '.join(names)} has ended yet, as far as the supervisor's log goes back")
        return
    with ExitStack() as opened:
        sources = [opened.enter_context(logfiles.WorkerLog(folder, name)) for name in names]
        about = _call(call, sources, follow=follow) if call else None
        wanted = logquery.selection(level=level, since=first, until=last, grep=matching, call=about)
        lines = logfiles.tail(sources, count, wanted, since=first)
        writer.write(lines)
        if follow:
            _follow(sources, wanted, writer, last)
    if not lines and not follow:
        note(f"no line of the logs in {folder} is so" if since or until or grep or call else f"nothing logged yet in {folder}")


def _named(wanted: list[str] | None, folder: Path) -> list[str]:
    from cli.names import resolve_worker
    from workers.roster import SUPERVISOR, WORKER_NAMES

    # Also those of an earlier roster: their logs are still there to be read.
    known = [*WORKER_NAMES, SUPERVISOR]
    known += sorted(path.stem for path in folder.glob("*.log") if path.stem not in known)
    return list(dict.fromkeys(resolve_worker(name, known) for name in wanted)) if wanted else known


def _call(text: str, sources: Sequence[WorkerLog], *, follow: bool) -> CallLines:
    from cli import logquery
    from core.errors import NotFound

    try:
        return logquery.find_call(text, sources)
    except NotFound:
        if not follow:
            raise
        # Its first line may be about to be written.
        return logquery.CallLines([text.strip()])


def _last(lines: list[Line], count: int | None) -> list[Line]:
    return lines if count is None else lines[-count:] if count else []


def _follow(sources: Sequence[WorkerLog], wanted: Wanted, writer: Writer, until: str) -> None:
    from datetime import UTC, datetime

    from cli.logquery import stamp
    from workers import logfiles

    for batch in logfiles.follow(sources, wanted):
        writer.write(batch)
        if until and not batch and stamp(datetime.now(UTC)) > until:
            return


class Writer:
    """Lines as people read them, with the workers' names padded and coloured, or as programs do."""

    def __init__(self, names: Sequence[str], *, people: bool, as_json: bool = False) -> None:
        from cli.render import colour
        from workers.roster import SUPERVISOR, WORKER_NAMES

        self._people, self._as_json = people, as_json
        self._coloured = colour(sys.stdout)
        self._width = max(map(len, names), default=0)
        # By the roster, so that a worker keeps its colour whichever others are shown.
        order = dict.fromkeys([*WORKER_NAMES, SUPERVISOR, *names])
        self._styles = {name: _PREFIX_STYLES[index % len(_PREFIX_STYLES)] for index, name in enumerate(order)}

    def write(self, lines: Sequence[Line]) -> None:
        if lines:
            sys.stdout.write("".join(f"{self._shown(line)}\n" for line in lines))
            sys.stdout.flush()

    def _shown(self, line: Line) -> str:
        if not self._people:
            return _as_object(line) if self._as_json and line.keys is None else line.raw
        from cli.render import joined, log_spans

        name = str((line.keys or {}).get("worker", line.worker))
        prefix = self._styles.get(name, "")
        return joined(log_spans(line.keys, line.raw, self._width, worker=line.worker, prefix=prefix), self._coloured)


def _as_object(line: Line) -> str:
    import json

    return json.dumps({"ts": line.ts, "level": None, "worker": line.worker, "event": "output", "line": line.raw}, ensure_ascii=False)


def register(app: typer.Typer) -> None:
    app.command("logs")(logs)
