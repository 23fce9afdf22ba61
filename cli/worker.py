"""One worker at a time: `orch start`, `stop`, `restart`, `drain`; and `orch reload`, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import exits
from cli.completion import complete_worker
from cli.draining import Progress, Yes, confirm_cutting, live_calls, tell_why_not

if TYPE_CHECKING:
    from core.settings import Settings

# With these, people are cut off in the middle of a sentence when they end at once.
CARRY_CALLS = frozenset({"media-server", "webhook-server", "phone-simulator"})

WorkerNow = Annotated[bool, typer.Option("--now", help="Do not wait for its calls to end: they are cut.")]
WorkerArgument = Annotated[str, typer.Argument(metavar="WORKER", help="Its name, or the start of it.", autocompletion=complete_worker)]


def _worker_row(run_folder: Path, worker: str) -> dict[str, Any]:
    """The row of the worker that a person means. Raises NotRunning, and InvalidInput for a name that is none."""
    from cli.names import resolve_worker
    from workers.control import ask

    rows = {row["name"]: row for row in ask(run_folder, {"do": "status"})["workers"]}
    row: dict[str, Any] = rows[resolve_worker(worker, list(rows))]
    return row


def start(worker: WorkerArgument) -> None:
    """Start one worker again, after it was stopped or given up, and wait until it is ready.

    orch start media-server
    orch start call
    """
    from cli.home import run_folder
    from workers.control import ask

    folder = run_folder()
    row = _worker_row(folder, worker)
    ask(folder, {"do": "start", "worker": row["name"]})
    raise typer.Exit(_until_ready(folder, row["name"], 0))


def stop(worker: WorkerArgument, now: WorkerNow = False, yes: Yes = False) -> None:
    """Stop one worker, its calls finished first; the others go on.

    orch stop window
    orch stop media-server --now --yes
    """
    from cli.home import run_folder
    from cli.render import error_line, note, say
    from workers import launch
    from workers.control import ask

    folder = run_folder()
    row = _worker_row(folder, worker)
    name = row["name"]
    _confirm_worker(folder, "stop", row, now, yes)
    ask(folder, {"do": "stop", "worker": name, "now": now})
    progress = Progress()
    try:
        for row in launch.follow_worker(folder, name, lambda row: row["state"] == "stopped"):
            progress.tell([row])
    except KeyboardInterrupt:
        note(f"{name} goes on stopping; `orch stop {name} --now` cuts what is left")
        raise
    if row["killed"]:
        error_line(f"{name} did not end in time and was killed; see `orch logs --worker supervisor`")
        raise typer.Exit(exits.DEGRADED)
    say(f"{name} is stopped; `orch start {name}` starts it")


def restart(worker: WorkerArgument, now: WorkerNow = False, yes: Yes = False) -> None:
    """Stop one worker, its calls finished first, and start it: it reads its settings anew.

    orch restart call-scheduler
    orch restart media --now --yes
    """
    from cli.home import run_folder
    from workers.control import ask

    folder = run_folder()
    row = _worker_row(folder, worker)
    _confirm_worker(folder, "restart", row, now, yes)
    ask(folder, {"do": "restart", "worker": row["name"], "now": now})
    raise typer.Exit(_until_ready(folder, row["name"], row["starts"]))


def drain(worker: WorkerArgument) -> None:
    """Let one worker take no new work: its calls go on, no others begin. `orch restart WORKER` ends that.

    orch drain media-server
    orch drain call-scheduler
    """
    from cli.home import run_folder
    from cli.render import say
    from workers.control import ask

    folder = run_folder()
    name = _worker_row(folder, worker)["name"]
    ask(folder, {"do": "drain", "worker": name})
    say(f"{name} takes no new work; `orch restart {name}` ends that")


def reload() -> None:
    """Restart all workers, one after the other, each with its calls finished first: they read their settings anew.

    What was set in the shell of `start-all`, and ports, need `orch stop-all` and `orch start-all` instead.

    orch reload
    """
    from cli.home import run_folder
    from cli.render import error_line, note, say
    from core.settings import load_settings
    from workers import launch
    from workers.control import ask

    folder = run_folder()
    _check_reloadable(load_settings())
    names = ask(folder, {"do": "reload"})["workers"]
    progress, told = Progress(), ""
    try:
        for answer in launch.follow_reload(folder):
            at = answer["reload"]["at"]
            if at and at != told:
                note(f"restarting {at} ({names.index(at) + 1} of {len(names)})")
                told = at
            progress.tell(answer["workers"])
    except KeyboardInterrupt:
        note("the reload goes on; `orch status` shows it")
        raise
    failed = answer["reload"]["failed"]
    if failed:
        error_line(f"the reload stopped: {failed}; mend that, then `orch reload` again")
        raise typer.Exit(exits.DEGRADED)
    say(f"all {len(names)} workers were restarted")


def _check_reloadable(settings: Settings) -> None:
    """The supervisor holds the ports, and knows which workers there are: neither changes by restarting workers. Raises Conflict."""
    from core.errors import Conflict
    from workers.launch import ROSTER_NAME
    from workers.roster import load_roster, roster

    wanted = {worker.name: worker for worker in roster(settings)}
    try:
        running = {worker.name: worker for worker in load_roster(settings.paths.run / ROSTER_NAME)}
    except (OSError, ValueError, KeyError, TypeError):
        return  # not running, or about to be told so
    if not running.keys() & wanted.keys():
        return  # workers of somebody's own
    changed = [
        f"{name} would listen on {wanted[name].listen}"
        for name in running.keys() & wanted.keys()
        if running[name].listen != wanted[name].listen
    ]
    changed += [f"{name} would be {'new' if name in wanted else 'gone'}" for name in sorted(running.keys() ^ wanted.keys())]
    if changed:
        raise Conflict(f"by the settings of now {', '.join(changed)}: that needs `orch stop-all` and `orch start-all`")


def _confirm_worker(run_folder: Path, do: str, row: Mapping[str, Any], now: bool, yes: bool) -> None:
    from workers.control import ask

    # The phone network ends its calls after a short while, whether they are over or not.
    if now or row["name"] == "phone-simulator":
        calls = row["in_flight"] if row["name"] in {"media-server", "phone-simulator"} else live_calls(ask(run_folder, {"do": "status"}))
        if row["name"] in CARRY_CALLS:
            confirm_cutting(calls or 0, f"{do} {row['name']}{' --now' if now else ''}", yes)


def _until_ready(run_folder: Path, name: str, starts_before: int) -> int:
    """Wait for a start that comes after that many. Returns the exit code, having said how it went."""
    from cli.render import note, say
    from workers import launch

    def done(row: Mapping[str, Any]) -> bool:
        return row["state"] in {"fatal", "stopped"} or (row["starts"] > starts_before and row["state"] in {"running", "draining"})

    progress = Progress()
    try:
        for row in launch.follow_worker(run_folder, name, done):
            progress.tell([row])
    except KeyboardInterrupt:
        note(f"{name} goes on starting; `orch status` shows it")
        raise
    if row["state"] in {"running", "draining"}:
        say(f"{name} is {row['state']}")
        return 0
    tell_why_not(run_folder.parent / "logs", row)
    return exits.DEGRADED


def register(app: typer.Typer) -> None:
    for command in (start, stop, restart, drain, reload):
        app.command()(command)
