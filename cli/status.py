"""`orch status`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli import exits

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]

HEADERS = ("NAME", "STATE", "PID", "UPTIME", "BEAT", "RESTARTS", "MEM", "WORK", "LAST EXIT")


def status(as_json: JsonOption = False) -> None:
    """Show the daemon: each worker's state and work, and what is wrong.

    Exit code: 0 all is well, 3 not running, 4 a worker is not. Examples: `orch status`, `orch status --json`.
    """
    from cli.home import run_folder
    from cli.render import print_json, say
    from workers import launch

    answer = launch.status(run_folder())
    if answer is None:
        if as_json:
            print_json({"running": False, "supervisor": None, "paused": None, "workers": [], "problems": []})
        else:
            say("orch is not running; start it with `orch start-all`")
        raise typer.Exit(exits.NOT_RUNNING)
    answer["paused"] = paused_because(answer)
    answer["problems"] = problems(answer)
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    if any(row["state"] in {"fatal", "backoff", "hung"} for row in answer["workers"]):
        raise typer.Exit(exits.DEGRADED)


def _print(answer: dict[str, Any]) -> None:
    from cli.render import duration, say

    daemon = answer["supervisor"]
    say(f"orch is {daemon['state']}: supervisor pid {daemon['pid']}, up {duration(daemon['uptime_seconds'])}, home {daemon['home']}")
    if answer["paused"]:
        say(f"dialling is paused: {answer['paused']} (`orch resume` ends it)", style="yellow")
    print_workers(answer)
    for problem in answer["problems"]:
        say(f"! {problem['worker']}: {problem['text']}", style="red")
        if problem["hint"]:
            say(f"  {problem['hint']}")


def print_workers(answer: dict[str, Any]) -> None:
    """One row a worker."""
    from cli.render import STATE_STYLES, duration, megabytes, print_table

    rows = []
    for row in answer["workers"]:
        beat = row["beat_age_seconds"]
        rows.append(
            (
                row["name"],
                "draining" if row["draining"] and row["state"] == "stopping" else row["state"],
                row["pid"],
                duration(row["uptime_seconds"]),
                duration(beat) if beat is not None else "-",
                row["restarts"],
                megabytes(row["memory_bytes"]),
                work_of(row),
                row["last_exit"],
            )
        )
    print_table(HEADERS, rows, STATE_STYLES)


def work_of(row: dict[str, Any]) -> str:
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


def paused_because(answer: dict[str, Any]) -> str | None:
    """Why dialling is paused, as the workers say; None if it is not."""
    for row in answer["workers"]:
        paused = row["extra"].get("paused")
        if paused:
            return "no reason was given" if paused is True else str(paused)
    return None


def problems(answer: dict[str, Any]) -> list[dict[str, str]]:
    """What a person should look at, each with what to do."""
    found = []

    def add(worker: str, text: str, hint: str = "") -> None:
        found.append({"worker": worker, "text": text, "hint": hint})

    for row in answer["workers"]:
        name, look = row["name"], f"see `orch logs --worker {row['name']}`"
        if row["state"] == "fatal":
            add(name, f"given up: {row['problem']}", f"{look}; when mended: `orch restart {name}`")
        elif row["state"] == "backoff":
            add(name, f"{row['problem']}; starts again in {row['retry_in_seconds']:g} s", look)
        elif row["state"] == "hung":
            add(name, "does not answer and is being replaced", f"the stacks are in logs/{name}.out")
        elif row["state"] == "stopped" and answer["supervisor"]["state"] == "running":
            add(name, "is stopped", f"`orch start {name}`")
        for job, live in row["jobs"].items():
            if live["last_error"]:
                add(name, f"job {job} failed: {live['last_error']}", look)
        for text in row["extra"].get("problems", ()):
            add(name, str(text))
    return found


def register(app: typer.Typer) -> None:
    app.command("status")(status)
