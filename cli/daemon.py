"""`orch start-all` and `orch stop-all`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exits
from cli.draining import Progress, Yes, confirm_cutting, live_calls, tell_why_not

if TYPE_CHECKING:
    from core.settings import Settings


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
    from core import environment
    from core.errors import Conflict, OrchError, SettingsError
    from core.settings import setting_names
    from workers import launch
    from workers.preflight import PreflightFailed, check_database, check_folders, check_logs, check_ports
    from workers.roster import SUPERVISOR, load_roster, roster

    for unknown in environment.unknown_names(environment.read(), setting_names()):
        # A mistyped ORCH_DIAL_ONLY would otherwise be found out by whoever is rung.
        note(f"! {unknown}", style="yellow")
    paths = settings.paths
    workers = load_roster(roster_file) if roster_file is not None else roster(settings)
    check_folders((paths.home, paths.run, paths.logs, paths.data))
    check_logs(paths.logs, [SUPERVISOR, *(worker.name for worker in workers)])
    launch.wait_for_earlier_copies(paths.run, workers, wait, note)
    # Before the database is touched: a taken port is the likeliest reason to stop here.
    check_ports(workers)
    check_database(settings.database_url)
    from core.bootstrap import initialise

    try:
        for done in initialise(settings):
            note(done)
    except SettingsError:
        raise
    except (OrchError, OSError) as error:
        raise PreflightFailed(str(error)) from error
    try:
        launch.launch(paths.home, workers, settings.engine.log_level, settings.engine.log_max_mb, _about(settings))
    except Conflict:
        # Another start was faster; waiting for its workers is all that is left to do.
        launch.find_running(paths.run, wait)


def _about(settings: Settings) -> dict[str, str]:
    from importlib.metadata import version

    from core.settings import without_password

    return {"version": version("orch"), "database": without_password(settings.database_url)}


def _show_ready(settings: Settings, wait: float) -> int:
    from cli.render import error_line, say
    from cli.status import print_workers
    from workers import launch

    answer = launch.wait_until_ready(settings.paths.run, wait)
    print_workers(answer)
    late = launch.not_ready(answer)
    if not late:
        say(f"all {len(answer['workers'])} workers are ready; `orch status` shows them, `orch stop-all` ends them")
        return 0
    for row in late:
        tell_why_not(settings.paths.logs, row)
    if all(row["state"] == "starting" and not row["problem"] for row in late):
        error_line(f"not all workers were ready within {wait:g} s; they go on starting: see `orch status`")
        return exits.TIMED_OUT
    error_line("mend what the lines above say, then `orch start WORKER`, or `orch stop-all`")
    return exits.DEGRADED


def _stay(run_folder: Path, log_folder: Path) -> int:
    """Show the logs until the daemon ends; the first Ctrl-C ends it, the second one without waiting for calls."""
    import signal

    from cli.logs import Writer
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
        writer = Writer([*names, SUPERVISOR], people=True)
        for batch in logfiles.follow(logs, lambda _line: True):
            writer.write(batch)
            try:
                if not batch and launch.status(run_folder) is None:
                    return 0
            except NotRunning:
                continue  # it is ending, or busy; the lock says which
    except KeyboardInterrupt:
        note("stopping; Ctrl-C again cuts calls that are not over")
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
    yes: Yes = False,
) -> None:
    """Stop the daemon; calls that are going on are finished first.

    Examples: `orch stop-all`, `orch stop-all --timeout 60`, `orch stop-all --now --yes`.
    """
    from cli.home import run_folder_anyway
    from cli.render import note, say
    from workers import launch

    folder = run_folder_anyway()
    status = launch.status(folder)
    if status is None:
        say("orch is not running")
        return
    if now:
        confirm_cutting(live_calls(status), "stop-all --now", yes)
    try:
        code = _stop_and_tell(folder, now=now, timeout=timeout)
    except KeyboardInterrupt:
        note("orch goes on stopping; `orch status` shows it, `orch stop-all --now` cuts what is left")
        raise
    raise typer.Exit(code)


def _stop_and_tell(run_folder: Path, *, now: bool, timeout: float | None) -> int:
    from cli.render import error_line, say
    from core.errors import NotRunning
    from workers import launch

    progress = Progress()
    killed: list[str] = []
    try:
        for answer in launch.stop(run_folder, now=now, timeout=timeout):
            if "stopped" in answer:
                killed = answer["killed"]
                break
            progress.tell(answer["workers"])
    except NotRunning:
        if launch.status(run_folder) is not None:
            raise
    if killed:
        error_line(f"stopped, but {', '.join(killed)} did not end in time and was killed; see `orch logs --worker supervisor`")
        return exits.DEGRADED
    say("orch is stopped")
    return 0


def register(app: typer.Typer) -> None:
    app.command("start-all")(start_all)
    app.command("stop-all")(stop_all)
