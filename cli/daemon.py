"""`orch start-all`, `stop-all`, and one worker at a time: `start`, `stop`, `restart`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import exits
from cli.names import complete_worker

if TYPE_CHECKING:
    from core.settings import Settings

WorkerArgument = Annotated[str, typer.Argument(metavar="WORKER", help="Its name, or the start of it.", autocompletion=complete_worker)]


def start_all(
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, show the logs, and stop everything on Ctrl-C.")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Then ring a few simulated people (see `orch demo`).")] = False,
    wait: Annotated[float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long the workers may take to be ready.")] = 120.0,
    roster_file: Annotated[Path | None, typer.Option("--roster", hidden=True, help="Run the workers of this file instead.")] = None,
) -> None:
    """Start the daemon: every worker, watched and restarted when it fails.

    Examples: `orch start-all`, `orch start-all --demo`, `orch start-all --foreground`.
    """
    from cli.render import say
    from core.settings import load_settings
    from workers import launch

    settings = load_settings()
    run_folder = settings.paths.run
    running = launch.find_running(run_folder, wait)
    if running is not None:
        say(f"orch is already running (pid {running['supervisor']['pid']})")
    else:
        _start(settings, wait, roster_file)
    code = _show_ready(settings, wait)
    if demo and code == 0:
        from cli.demo import run_demo
        from cli.render import console

        code = run_demo(console())
    if foreground:
        code = _stay(run_folder, settings.paths.logs)
    raise typer.Exit(code)


def _start(settings: Settings, wait: float, roster_file: Path | None) -> None:
    from cli.render import note
    from core.errors import Conflict
    from workers import launch
    from workers.preflight import check_folders, check_ports
    from workers.roster import load_roster, roster

    paths = settings.paths
    workers = load_roster(roster_file) if roster_file is not None else roster(settings)
    check_folders((paths.home, paths.run, paths.logs, paths.data))
    launch.wait_for_earlier_copies(paths.run, workers, wait, note)
    # Before the database is touched: a taken port is the likeliest reason to stop here.
    check_ports(workers)
    # Loads SQLAlchemy and Alembic, half a second that only a real start has to pay.
    from core.bootstrap import initialise

    for done in initialise(settings):
        note(done)
    try:
        launch.launch(paths.home, workers, settings.engine.log_level, settings.engine.log_max_mb)
    except Conflict:
        # Another start was faster; waiting for its workers is all that is left to do.
        launch.find_running(paths.run, wait)


def _show_ready(settings: Settings, wait: float) -> int:
    from cli.render import error_line, render_log_line, say
    from cli.status import print_workers
    from workers import launch
    from workers.logfiles import last_words

    answer = launch.wait_until_ready(settings.paths.run, wait)
    print_workers(answer)
    late = launch.not_ready(answer)
    if not late:
        say(f"all {len(answer['workers'])} workers are ready; `orch status` shows them, `orch stop-all` ends them")
        return 0
    for row in late:
        reason = row["problem"] or ("not ready yet" if row["state"] == "starting" else f"is {row['state']}")
        error_line(f"{row['name']}: {reason}; its last lines:")
        for line in last_words(settings.paths.logs, row["name"], 10):
            sys.stderr.write(f"    {render_log_line(line.keys, line.raw, 0) if line.keys else line.raw}\n")
    if all(row["state"] == "starting" and not row["problem"] for row in late):
        error_line(f"not all workers were ready within {wait:g} s; they go on starting: see `orch status`")
        return exits.TIMED_OUT
    error_line("mend what the lines above say, then `orch restart WORKER`, or `orch stop-all`")
    return exits.DEGRADED


def _stay(run_folder: Path, log_folder: Path) -> int:
    """Show the logs until the daemon ends; the first Ctrl-C ends it, the second one without waiting for calls."""
    import signal

    from cli.logs import show
    from cli.render import note
    from core.errors import NotRunning
    from workers import launch, logfiles
    from workers.roster import SUPERVISOR

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        note("Ctrl-C stops orch; closing the terminal does not")
        status = launch.status(run_folder)
        names = [row["name"] for row in status["workers"]] if status else []
        logs = [logfiles.WorkerLog(log_folder, name) for name in (*names, SUPERVISOR)]
        for batch in logfiles.follow(logs, lambda _line: True):
            show(batch, width=max(map(len, (*names, SUPERVISOR))), raw=False)
            try:
                if not batch and launch.status(run_folder) is None:
                    return 0
            except NotRunning:
                continue  # it is ending, or busy; the lock says which
    except KeyboardInterrupt:
        pass
    try:
        return _stop_and_tell(run_folder, now=False, timeout=None)
    except KeyboardInterrupt:
        return _stop_and_tell(run_folder, now=True, timeout=None)


def stop_all(
    now: Annotated[bool, typer.Option("--now", help="Do not wait for calls to end: they are cut.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", min=0, help="Longest that a worker may take."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before calls are cut.")] = False,
) -> None:
    """Stop the daemon; calls that are going on are finished first.

    Examples: `orch stop-all`, `orch stop-all --timeout 60`, `orch stop-all --now --yes`.
    """
    from cli.home import run_folder_anyway
    from cli.render import say
    from workers import launch

    folder = run_folder_anyway()
    status = launch.status(folder)
    if status is None:
        say("orch is not running")
        return
    if now and not yes:
        _confirm_cutting(status)
    raise typer.Exit(_stop_and_tell(folder, now=now, timeout=timeout))


def _confirm_cutting(status: dict[str, Any]) -> None:
    calls = sum(row["in_flight"] or 0 for row in status["workers"] if row["name"] == "media-server")
    if not calls:
        return
    if not sys.stdin.isatty():
        from core.errors import InvalidInput

        raise InvalidInput(f"--now would cut {calls} live call(s); say --yes if that is meant")
    if not typer.confirm(f"{calls} live call(s) will be cut. Stop now?", err=True):
        raise typer.Exit(exits.FAILED)


def _stop_and_tell(run_folder: Path, *, now: bool, timeout: float | None) -> int:
    from cli.render import duration, error_line, note, say
    from core.errors import NotRunning
    from workers import launch

    told = ""
    killed: list[str] = []
    try:
        for answer in launch.stop(run_folder, now=now, timeout=timeout):
            if "stopped" in answer:
                killed = answer["killed"]
                break
            waiting = [row for row in answer["workers"] if row["state"] == "stopping" and (row["in_flight"] or 0) > 0]
            text = "; ".join(f"{row['name']}: {row['in_flight']} in flight, {duration(row['stop_in_seconds'])} left" for row in waiting)
            # The numbers move each second; a line each time something ended, and now and then, is enough.
            key = "; ".join(f"{row['name']}{row['in_flight']}{int((row['stop_in_seconds'] or 0) // 10)}" for row in waiting)
            if text and key != told:
                note(text)
                told = key
    except NotRunning:
        if launch.status(run_folder) is not None:
            raise
    if killed:
        error_line(f"stopped, but {', '.join(killed)} did not end in time and was killed; see `orch logs --worker supervisor`")
        return exits.DEGRADED
    say("orch is stopped")
    return 0


def _ask_about(do: str, worker: str) -> None:
    from cli.home import run_folder
    from cli.names import resolve_worker
    from cli.render import say
    from workers.control import ask

    folder = run_folder()
    names = [row["name"] for row in ask(folder, {"do": "status"})["workers"]]
    name = resolve_worker(worker, names)
    state = ask(folder, {"do": do, "worker": name})["state"]
    say(f"{name} is {state}")


def start(worker: WorkerArgument) -> None:
    """Start one worker again, after it was stopped or given up."""
    _ask_about("start", worker)


def stop(worker: WorkerArgument) -> None:
    """Stop one worker; the others go on."""
    _ask_about("stop", worker)


def restart(worker: WorkerArgument) -> None:
    """Stop one worker, its work finished first, and start it: it reads its settings anew."""
    _ask_about("restart", worker)


def register(app: typer.Typer) -> None:
    app.command("start-all")(start_all)
    app.command("stop-all")(stop_all)
    app.command("start")(start)
    app.command("stop")(stop)
    app.command("restart")(restart)
