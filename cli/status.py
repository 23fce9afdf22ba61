"""`orch status`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import exits

if TYPE_CHECKING:
    from pathlib import Path

    from cli.render import Spans

Answer = dict[str, Any]

HEADERS = ("NAME", "STATE", "PID", "UPTIME", "BEAT", "RESTARTS", "CPU", "MEM", "WORK", "LAST EXIT")
WAITS = ("ready", "stopped")
_WAIT_POLL_SECONDS = 0.1
_ILL = frozenset({"fatal", "backoff", "hung"})


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Draw it anew, again and again, until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option("--interval", metavar="SECONDS", min=0.1, help="How often --watch draws.")] = 1.0,
    wait: Annotated[str | None, typer.Option("--wait", metavar="ready|stopped", help="Return when it is so.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long --wait waits.")] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout; with --watch, one a line.")] = False,
) -> None:
    """Show the daemon: each worker's state and work, and what is wrong.

    Exit code: 0 all is well, 3 not running, 4 a worker is given up, waits to be restarted, hangs, or had to be killed,
    124 --wait ran out. CPU is the share of one core since the worker's start; with --watch, since the last look.

    orch status
    orch status --watch
    orch status --wait ready --timeout 30
    orch status --json | jq '.workers[] | {name, state}'
    """
    from cli.home import run_folder
    from core.errors import InvalidInput

    if wait is not None and wait not in WAITS:
        raise InvalidInput(f"--wait {wait!r} is not known; it must be {' or '.join(WAITS)}")
    if wait is not None and watch:
        raise InvalidInput("--watch goes on until Ctrl-C; leave out --wait, or --watch")
    folder = run_folder()
    if watch:
        _watch(folder, interval, as_json)
    elif wait is not None:
        raise typer.Exit(_wait(folder, wait, timeout, as_json))
    else:
        answer = completed(ask_daemon(folder))
        _show(answer, as_json)
        raise typer.Exit(code_of(answer))


def ask_daemon(run_folder: Path) -> Answer | None:
    """What the supervisor says, None when there is none. Raises NotRunning for one that lives but is silent."""
    # As workers.launch.status does, without importing all that starting a daemon needs.
    from core.errors import NotRunning
    from workers.control import ask

    try:
        return ask(run_folder, {"do": "status"})
    except NotRunning:
        from workers.process import LOCK_NAME, FileLock

        if FileLock(run_folder / LOCK_NAME).holder() is None:
            return None
        raise


def completed(answer: Answer | None, earlier: Answer | None = None) -> Answer:
    """The answer with what is worked out here: cpu_percent (since `earlier`, or the worker's start), paused, problems."""
    if answer is None:
        return {"running": False, "supervisor": None, "paused": None, "workers": [], "problems": []}
    before = {row["pid"]: row for row in earlier["workers"]} if earlier and earlier["running"] else {}
    for row in answer["workers"]:
        row["cpu_percent"] = cpu_percent(row, before.get(row["pid"]))
    answer["paused"] = paused_because(answer)
    answer["problems"] = problems(answer)
    return answer


def code_of(answer: Answer) -> int:
    if not answer["running"]:
        return exits.NOT_RUNNING
    ill = any(row["state"] in _ILL or row["killed"] for row in answer["workers"])
    return exits.DEGRADED if ill else 0


def _show(answer: Answer, as_json: bool) -> None:
    from cli.render import print_json, print_spans

    if as_json:
        print_json(answer)
    else:
        print_spans(lines(answer))


# Watching and waiting.


def _watch(folder: Path, interval: float, as_json: bool) -> None:
    import json
    import sys
    import time

    from cli.watch import Screen

    def looks() -> Iterator[Answer]:
        from core.errors import NotRunning

        earlier = None
        while True:
            began = time.monotonic()
            try:
                earlier = completed(ask_daemon(folder), earlier)
                yield earlier
            except NotRunning:
                pass  # busy, or about to end; the next look tells
            time.sleep(max(0.0, interval - (time.monotonic() - began)))

    if as_json or not sys.stdout.isatty():
        for answer in looks():
            if as_json:
                sys.stdout.write(json.dumps(answer, default=str, ensure_ascii=False) + "\n")
            else:
                _show(answer, as_json=False)
                sys.stdout.write("\n")
            sys.stdout.flush()
    answer = completed(None)
    try:
        with Screen() as screen:
            for answer in looks():
                now = datetime.now(UTC).astimezone()
                screen.draw([*lines(answer), [], [(f"{now:%H:%M:%S}, every {interval:g} s; Ctrl-C ends", "dim")]])
    finally:
        # The last frame stays in the scroll-back.
        _show(answer, as_json=False)


def _wait(folder: Path, wanted: str, timeout: float, as_json: bool) -> int:
    import time

    from cli.render import error_line, note
    from core.errors import NotRunning

    reached: Callable[[Answer], bool] = is_ready if wanted == "ready" else lambda answer: not answer["running"]
    deadline = time.monotonic() + timeout
    told = ""
    while True:
        try:
            answer = completed(ask_daemon(folder))
        except NotRunning:
            waiting_for = "the supervisor's answer"
        else:
            given_up = wanted == "ready" and any(row["state"] == "fatal" for row in answer["workers"])
            if reached(answer) or given_up:
                _show(answer, as_json)
                return code_of(answer) if wanted == "ready" else 0
            waiting_for = ", ".join(f"{row['name']} ({row['state']})" for row in not_there(answer, wanted)) or "orch to be started"
        if time.monotonic() >= deadline:
            error_line(f"not {wanted} after {timeout:g} s; still waiting for {waiting_for}")
            return exits.TIMED_OUT
        if waiting_for != told:
            note(f"waiting for {waiting_for}")
            told = waiting_for
        time.sleep(_WAIT_POLL_SECONDS)


def is_ready(answer: Answer) -> bool:
    return bool(answer["running"]) and answer["supervisor"]["state"] == "running" and not not_there(answer, "ready")


def not_there(answer: Answer, wanted: str) -> list[Answer]:
    """The workers that a wait for `wanted` waits for."""
    arrived = {"running"} if wanted == "ready" else {"stopped", "fatal"}
    return [row for row in answer["workers"] if row["state"] not in arrived]


# What is shown.


def lines(answer: Answer) -> list[Spans]:
    """The whole status, a line each."""
    if not answer["running"]:
        return [[("orch is not running; start it with `orch start-all`", "")]]
    from cli.render import printable

    found = [*header(answer), [], *worker_lines(answer)]
    for problem in answer["problems"]:
        found.append([(f"! {problem['worker']}: {printable(problem['text'])}".replace("\n", " "), "red")])
        if problem["hint"]:
            found.append([(f"  {printable(problem['hint'])}".replace("\n", " "), "")])
    return found


def header(answer: Answer) -> list[Spans]:
    from cli.render import duration, printable

    daemon = answer["supervisor"]
    draining = sum(row["in_flight"] or 0 for row in answer["workers"] if row["draining"])
    state = daemon["state"] + (f" ({draining} in flight are finished first)" if draining and daemon["state"] == "stopping" else "")
    version = f", version {daemon['version']}" if daemon.get("version") else ""
    first: Spans = [
        ("orch is ", ""),
        (state, "green" if daemon["state"] == "running" else "yellow"),
        (f": supervisor pid {daemon['pid']}, up {duration(daemon['uptime_seconds'])}{version}", ""),
    ]
    places = [f"home {daemon['home']}"]
    if daemon.get("database"):
        places.append(f"database {daemon['database']}")
    listening = next((row["listen"] for row in answer["workers"] if row["name"] == "webhook-server"), None)
    if listening:
        places.append(f"http://{listening}")
    found: list[Spans] = [first, [(printable(", ".join(places)), "dim")]]
    reload = answer.get("reload") or {}
    if reload.get("at"):
        left = f"; then {', '.join(reload['left'])}" if reload["left"] else ""
        found.append([(f"reloading: {reload['at']}{left}", "cyan")])
    if answer["paused"]:
        found.append([(f"dialling is paused: {printable(answer['paused'])} (`orch resume` ends it)", "yellow")])
    return found


def print_workers(answer: Answer) -> None:
    """One row a worker."""
    from cli.render import print_spans

    print_spans(worker_lines(answer))


def worker_lines(answer: Answer) -> list[Spans]:
    from cli.render import STATE_STYLES, duration, megabytes, table_spans

    rows = []
    for row in answer["workers"]:
        beat, share = row["beat_age_seconds"], row.get("cpu_percent", cpu_percent(row, None))
        rows.append(
            (
                row["name"],
                "draining" if row["draining"] and row["state"] in {"running", "stopping"} else row["state"],
                row["pid"],
                duration(row["uptime_seconds"]),
                duration(beat) if beat is not None else "-",
                row["restarts"],
                f"{share:.1f} %" if share is not None else "-",
                megabytes(row["memory_bytes"]),
                work_of(row),
                row["last_exit"],
            )
        )
    table = table_spans(HEADERS, rows, STATE_STYLES)
    # One that was given up is red from end to end: it is the one that nobody will start again.
    return [
        [(text, style or "red") for text, style in spans] if number and rows[number - 1][1] == "fatal" else spans
        for number, spans in enumerate(table)
    ]


def cpu_percent(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> float | None:
    """Share of one core between two looks at the same process, or since its start."""
    used, up = row.get("cpu_seconds"), row["uptime_seconds"]
    if used is None or not up:
        return None
    if before is not None and before.get("cpu_seconds") is not None and up > before["uptime_seconds"]:
        used, up = used - before["cpu_seconds"], up - before["uptime_seconds"]
    return float(round(max(0.0, used / up * 100), 1))


def work_of(row: Answer) -> str:
    """What a worker is doing, or will do next, in a few words."""
    said = row["extra"].get("work")
    if said:
        return str(said)
    if row["in_flight"]:
        return f"{row['in_flight']} in flight"
    if row["retry_in_seconds"] is not None:
        return f"starts in {row['retry_in_seconds']:g} s"
    upcoming = sorted((job["next_run"], name) for name, job in row["jobs"].items() if job["next_run"])
    if not upcoming:
        return ""
    from cli.render import duration

    at, name = upcoming[0]
    seconds = (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()
    return f"{name} in {duration(max(0.0, seconds))}"


def paused_because(answer: Answer) -> str | None:
    """Why dialling is paused, as the workers say; None if it is not."""
    for row in answer["workers"]:
        paused = row["extra"].get("paused")
        if paused:
            return "no reason was given" if paused is True else str(paused)
    return None


def problems(answer: Answer) -> list[dict[str, str]]:
    """What a person should look at, each with what to do."""
    found = []

    def add(worker: str, text: str, hint: str = "") -> None:
        found.append({"worker": worker, "text": text, "hint": hint})

    failed = (answer.get("reload") or {}).get("failed")
    if failed:
        add("supervisor", f"the reload ended half way: {failed}", "mend that, then `orch reload` again")
    for row in answer["workers"]:
        name, look = row["name"], f"see `orch logs --worker {row['name']}`"
        if row["state"] == "fatal":
            add(name, f"given up: {row['problem']}", f"see `orch logs --previous --worker {name}`; when mended: `orch restart {name}`")
        elif row["state"] == "backoff":
            add(
                name, f"{row['problem']}; starts again in {row['retry_in_seconds'] or 0:g} s", f"see `orch logs --previous --worker {name}`"
            )
        elif row["state"] == "hung":
            add(name, "does not answer and is being replaced", f"the stacks are in logs/{name}.out")
        elif row["state"] == "running" and row["draining"]:
            add(name, "takes no new work: it was drained", f"`orch restart {name}` makes it work again")
        elif row["state"] == "stopped" and answer["supervisor"]["state"] == "running":
            killed = " after it had to be killed" if row["killed"] else ""
            add(name, f"is stopped{killed}", f"`orch start {name}`")
        for job, live in row["jobs"].items():
            if live["last_error"]:
                add(name, f"job {job} failed: {live['last_error']}", look)
        for said in row["extra"].get("problems", ()):
            if isinstance(said, dict):
                add(name, str(said.get("text", "")), str(said.get("hint", "")))
            else:
                add(name, str(said))
    return found


def register(app: typer.Typer) -> None:
    app.command("status")(status)
