"""What `orch status` makes of the supervisor's answer."""

from __future__ import annotations

from typing import Any

import pytest

from cli.render import joined
from cli.status import code_of, completed, cpu_percent, is_ready, lines, not_there


def row(name: str = "call-scheduler", state: str = "running", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "state": state,
        "pid": 11,
        "uptime_seconds": 100.0,
        "beat_age_seconds": 0.2,
        "restarts": 0,
        "memory_bytes": 50 * 1024 * 1024,
        "cpu_seconds": 2.0,
        "listen": None,
        "draining": False,
        "in_flight": 0,
        "jobs": {},
        "extra": {},
        "last_exit": None,
        "killed": False,
        "problem": None,
        "retry_in_seconds": None,
        "stop_in_seconds": None,
        **more,
    }


def answer(*rows: dict[str, Any], **daemon: Any) -> dict[str, Any]:
    supervisor = {
        "pid": 10,
        "state": "running",
        "uptime_seconds": 125.0,
        "home": "/srv/orch",
        "version": "1.2.3",
        "database": "sqlite:///x",
    }
    return completed({"running": True, "supervisor": {**supervisor, **daemon}, "workers": list(rows)})


def shown(status: dict[str, Any], coloured: bool = False) -> list[str]:
    return [joined(spans, coloured) for spans in lines(status)]


def test_the_header_says_what_runs_where() -> None:
    status = shown(answer(row("webhook-server", listen="127.0.0.1:8000")))
    assert status[0] == "orch is running: supervisor pid 10, up 2 m 05 s, version 1.2.3"
    assert status[1] == "home /srv/orch, database sqlite:///x, http://127.0.0.1:8000"


def test_a_row_says_how_a_worker_is() -> None:
    status = shown(answer(row(restarts=3, last_exit="SIGKILL", extra={"work": "4 calls"})))
    assert status[3].split() == ["NAME", "STATE", "PID", "UPTIME", "BEAT", "RESTARTS", "CPU", "MEM", "WORK", "LAST", "EXIT"]
    assert [cell.strip() for cell in status[4].split("  ") if cell] == [
        *("call-scheduler", "running", "11", "1 m 40 s", "0.2 s", "3", "2.0 %", "50 MB", "4 calls", "SIGKILL")
    ]


def test_one_that_was_given_up_is_red_and_says_why_and_what_to_do() -> None:
    status = answer(row(state="fatal", pid=None, uptime_seconds=None, cpu_seconds=None, problem="6 crashes in 9 s, the last: exit 1"))
    table = shown(status, coloured=True)
    assert table[4].startswith("\x1b[31mcall-scheduler\x1b[0m")
    assert "\x1b[1;31mfatal\x1b[0m" in table[4]
    assert "given up: 6 crashes in 9 s" in table[5]
    assert "orch logs --previous --worker call-scheduler" in table[6]
    assert "orch restart call-scheduler" in table[6]
    assert code_of(status) == 4


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([row()], 0),
        ([row(state="starting")], 0),
        ([row(state="stopped")], 0),
        ([row(state="backoff", problem="crashed: exit 1", retry_in_seconds=2.0)], 4),
        ([row(state="hung")], 4),
        ([row(), row(state="stopped", killed=True)], 4),
    ],
)
def test_the_exit_code_says_whether_all_is_well(rows: list[dict[str, Any]], code: int) -> None:
    assert code_of(answer(*rows)) == code


def test_a_daemon_that_is_down_has_a_code_of_its_own() -> None:
    assert code_of(completed(None)) == 3
    assert "orch start-all" in shown(completed(None))[0]


@pytest.mark.parametrize(
    ("worker", "text", "hint"),
    [
        (row(state="backoff", problem="crashed: exit 1", retry_in_seconds=1.5), "starts again in 1.5 s", "--previous"),
        (row(state="hung"), "does not answer", "call-scheduler.out"),
        (row(state="stopped"), "is stopped", "orch start call-scheduler"),
        (row(state="stopped", killed=True), "had to be killed", "orch start call-scheduler"),
        (row(draining=True), "takes no new work", "orch restart call-scheduler"),
        (row(jobs={"call_dispatch": {"last_error": "boom", "next_run": None}}), "job call_dispatch failed: boom", "orch logs"),
        (row(extra={"problems": ["a plain one"]}), "a plain one", ""),
        (row(extra={"problems": [{"text": "one", "hint": "do this"}]}), "one", "do this"),
    ],
)
def test_every_problem_has_its_hint(worker: dict[str, Any], text: str, hint: str) -> None:
    (problem,) = answer(worker)["problems"]
    assert problem["worker"] == "call-scheduler"
    assert text in problem["text"]
    assert hint in problem["hint"]


def test_a_pause_and_a_drain_are_in_the_header() -> None:
    paused = answer(row(extra={"paused": "fire drill"}))
    assert paused["paused"] == "fire drill"
    assert "dialling is paused: fire drill" in shown(paused)[2]
    stopping = answer(row(state="stopping", draining=True, in_flight=2), state="stopping")
    assert "stopping (2 in flight are finished first)" in shown(stopping)[0]
    assert "draining" in shown(stopping)[4]


def test_what_a_worker_says_cannot_draw_on_the_terminal() -> None:
    status = answer(row(extra={"work": "\x1b[2J", "problems": ["x\x1b[A\ny"], "paused": "\x9bA"}))
    assert not any(sign in line for line in shown(status) for sign in ("\x1b", "\x9b", "\n"))


def test_cpu_is_since_the_start_or_since_the_last_look() -> None:
    before, now = row(cpu_seconds=2.0, uptime_seconds=100.0), row(cpu_seconds=2.5, uptime_seconds=101.0)
    assert cpu_percent(before, None) == 2.0
    assert cpu_percent(now, before) == 50.0
    assert cpu_percent(row(cpu_seconds=None), None) is None
    assert cpu_percent(row(uptime_seconds=None), None) is None
    assert cpu_percent(row(cpu_seconds=0.1, uptime_seconds=1.0), before) == 10.0, "a new process under the same number"


def test_ready_is_when_every_worker_is() -> None:
    assert is_ready(answer(row(), row("media-server")))
    assert not is_ready(answer(row(), row("media-server", "starting")))
    assert not is_ready(answer(row(), state="stopping"))
    assert not is_ready(completed(None))
    assert [each["name"] for each in not_there(answer(row(), row("media-server", "stopping")), "stopped")] == [
        "call-scheduler",
        "media-server",
    ]
