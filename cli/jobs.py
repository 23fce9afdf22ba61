"""`orch jobs` and `orch trigger`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import exits
from cli.completion import complete_job

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
_POLL_SECONDS = 0.05


def jobs(as_json: JsonOption = False) -> None:
    """Show every job: when it runs next, when it ran last, and how that went.

    When orch is down, what the database last knew is shown.

    orch jobs
    orch jobs --json | jq '.jobs[] | select(.last_error)'
    """
    from cli.home import run_folder
    from cli.render import local_time, note, print_json, print_table
    from cli.status import ask_daemon

    answer = ask_daemon(run_folder())
    rows = _from_database() if answer is None else _live(answer)
    if as_json:
        print_json({"running": answer is not None, "jobs": rows})
        return
    if answer is None:
        note("orch is not running; this is what the database last knew")
    print_table(
        ("JOB", "WORKER", "EVERY", "NEXT RUN", "LAST RUN", "TOOK", "LAST ERROR"),
        [
            (
                row["name"],
                row["worker"],
                f"{row['period_seconds']:g} s" if row["period_seconds"] is not None else None,
                "now" if row["running"] else local_time(row["next_run"]),
                local_time(row["last_run"]),
                f"{row['duration_ms']:g} ms" if row["duration_ms"] is not None else None,
                row["last_error"],
            )
            for row in rows
        ],
    )


def _live(answer: dict[str, Any]) -> list[dict[str, Any]]:
    from workers.jobs import JOBS

    found = {name: {"name": name, "worker": row["name"], **job} for row in answer["workers"] for name, job in row["jobs"].items()}
    empty = {"period_seconds": None, "running": False, "next_run": None, "last_run": None, "duration_ms": None}
    running_workers = {row["name"] for row in answer["workers"]}
    for job in JOBS:
        if job.name not in found and job.worker in running_workers:
            found[job.name] = {"name": job.name, "worker": job.worker, **empty, "last_result": None, "last_error": "its worker is not up"}
    return sorted(found.values(), key=lambda row: (row["worker"], row["name"]))


def _from_database() -> list[dict[str, Any]]:
    from core.settings import load_settings
    from core.storage.database import Database
    from core.storage.jobs import JobStore

    # Without keys, and so without core.bootstrap, which takes a second to import: jobs hold nothing that is sealed.
    database = Database(load_settings().database_url)
    try:
        return [
            {
                "name": job.name,
                "worker": job.worker,
                "period_seconds": job.period_seconds,
                "running": False,
                "next_run": None,
                "last_run": job.last_run_at,
                "duration_ms": job.last_duration_ms,
                "last_result": job.last_result,
                "last_error": job.last_error,
            }
            for job in JobStore(database).all()
        ]
    finally:
        database.close()


def trigger(
    name: Annotated[list[str], typer.Argument(metavar="[job] JOB", help="The job's name; see `orch jobs`.", autocompletion=complete_job)],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has run, and print its result.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which worker would run it, and whether that is up.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long --wait waits.")] = 120.0,
    as_json: JsonOption = False,
) -> None:
    """Run a job now, in the worker that owns it. What a job may do is decided as ever: this overrides nothing.

    With --wait the exit code says how it went: 0 done, 1 failed, 124 not over in time (it goes on all the same).

    orch trigger window_scan
    orch trigger call_dispatch --wait --timeout 30
    orch trigger call_dispatch --dry-run
    """
    from cli.home import run_folder
    from cli.render import print_json, say
    from core.errors import InvalidInput, NotRunning
    from workers.control import ask
    from workers.jobs import job_named

    words = name[1:] if len(name) > 1 and name[0] == "job" else name
    if len(words) != 1:
        raise InvalidInput(f"one job at a time, please: got {', '.join(words)}")
    job = job_named(words[0])
    states = {row["name"]: row["state"] for row in ask(run_folder(), {"do": "status"})["workers"]}
    if states.get(job.worker) != "running":
        state = states.get(job.worker, "not part of this daemon")
        raise NotRunning(f"{job.worker}, which owns {job.name}, is {state}; nothing was triggered. See `orch status`")
    if dry_run:
        if as_json:
            print_json({"id": None, "job": job.name, "worker": job.worker, "state": "not requested", "result": None})
        else:
            say(f"{job.worker} would run {job.name} now ({job.summary}); nothing was triggered")
        return
    view = _request(job.name, job.worker, wait, timeout)
    if as_json:
        print_json(view)
    elif view["state"] == "requested":
        say(f"{job.name} was triggered (trigger {view['id']})")
    else:
        over = f"not over after {timeout:g} s ({view['state']})" if view["state"] in {"pending", "running"} else view["state"]
        say(f"{job.name}: {over}{': ' + view['result'] if view['result'] else ''}")
    if wait:
        raise typer.Exit({"done": 0, "pending": exits.TIMED_OUT, "running": exits.TIMED_OUT}.get(view["state"], exits.FAILED))


def _request(job: str, worker: str, wait: bool, timeout: float) -> dict[str, Any]:
    import os
    import pwd
    import time

    from core.clock import SystemClock
    from core.settings import load_settings
    from core.storage.database import Database
    from core.storage.jobs import JobStore

    database = Database(load_settings().database_url)
    try:
        store = JobStore(database)
        trigger_id = store.request(job, worker, f"cli:{pwd.getpwuid(os.getuid()).pw_name}", SystemClock().now())
        deadline = time.monotonic() + timeout
        while wait:
            seen = store.get(trigger_id)
            if seen.state not in {"pending", "running"} or time.monotonic() >= deadline:
                return {"id": trigger_id, "job": job, "worker": worker, "state": seen.state, "result": seen.result}
            time.sleep(_POLL_SECONDS)
        return {"id": trigger_id, "job": job, "worker": worker, "state": "requested", "result": None}
    finally:
        database.close()


def register(app: typer.Typer) -> None:
    app.command("jobs")(jobs)
    app.command("trigger")(trigger)
