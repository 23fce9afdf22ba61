"""A worker on the real runtime, under a real supervisor, on a real database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.bootstrap import initialise, open_database
from core.settings import load_settings
from core.storage.database import Database, DatabaseUnavailable
from core.storage.jobs import JobStore
from core.storage.wakeup import raise_topic
from workers.child import EXIT_LOCKED
from workers.control import ask

WORKER = Path(__file__).with_name("runtime_worker.py")


class World:
    """The daemon with one worker, its diary, and the database they share."""

    def __init__(self, daemon: Any, database: Database) -> None:
        self.daemon, self.database = daemon, database
        self.jobs = JobStore(database)
        self.diary = daemon.home / "diary"

    def start(self) -> None:
        command = [sys.executable, str(WORKER), "window-scheduler", str(self.diary)]
        roster = self.daemon.home / "runtime-roster.json"
        roster.write_text(json.dumps({"workers": [{"name": "window-scheduler", "command": command, "drain_seconds": 6}]}))
        self.daemon.start_supervisor(roster)
        self.daemon.wait_for(self.daemon.alive_status, "the control socket")

    def lines(self) -> list[str]:
        return self.diary.read_text().splitlines() if self.diary.exists() else []

    def runs(self) -> int:
        return sum(line.startswith("window_scan") for line in self.lines())

    def row(self) -> dict[str, Any]:
        found: dict[str, Any] = self.daemon.worker("window-scheduler")
        return found

    def wait(self, condition: Any, what: str, seconds: float = 20) -> Any:
        return self.daemon.wait_for(condition, what, seconds)

    def put(self, name: str) -> None:
        self.diary.with_name(name).write_text("")

    def events(self) -> list[dict[str, Any]]:
        path = self.daemon.logs / "window-scheduler.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def settle(self) -> None:
        """Ready, with the run at the start and the one it asked for behind it."""
        self.daemon.wait_state("window-scheduler", "running", 60)
        self.wait(lambda: self.runs() >= 2 and not self.row()["jobs"]["window_scan"]["running"], "the first two runs")


@pytest.fixture
def world(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("ORCH_HOME", str(daemon.home))
    settings = load_settings()
    initialise(settings)
    database = open_database(settings)
    yield World(daemon, database)
    database.close()


def test_a_job_runs_at_the_start_and_when_it_said_it_is_due(world: World) -> None:
    world.start()
    world.settle()
    assert world.lines()[:3] == ["started", "window_scan 1", "window_scan 2"]
    assert world.runs() == 2, "its period is an hour"


def test_the_heartbeat_carries_what_status_shows(world: World) -> None:
    world.start()
    world.settle()
    row = world.wait(lambda: (row := world.row())["jobs"]["window_scan"]["last_result"] == '{"runs": 2}' and row, "the second run's result")
    assert row["extra"] == {"work": "writes a diary", "paused": "a test"}
    job = row["jobs"]["window_scan"]
    assert job["last_error"] is None
    assert job["duration_ms"] >= 0
    assert timedelta(minutes=50) < datetime.fromisoformat(job["next_run"]) - datetime.now(UTC) <= timedelta(hours=1)


def test_a_raised_topic_runs_the_job_at_once_and_others_do_not(world: World) -> None:
    world.start()
    world.settle()
    with world.database.write() as session:
        raise_topic(session, "somebody-else")
    # The second topic's run shows that the first one, raised before, started none.
    with world.database.write() as session:
        raise_topic(session, "windows")
    world.wait(lambda: world.runs() >= 3, "a run by topic", 3)
    assert world.runs() == 3


def test_a_trigger_is_taken_within_a_second_and_answered(world: World) -> None:
    world.start()
    world.settle()
    asked = world.jobs.request("window_scan", "window-scheduler", "test", datetime.now(UTC))
    world.wait(lambda: world.jobs.get(asked).state == "done", "the trigger to be done", 5)
    assert json.loads(world.jobs.get(asked).result or "")["runs"] == 3


def test_a_trigger_for_a_job_that_is_not_here_fails(world: World) -> None:
    world.start()
    world.settle()
    asked = world.jobs.request("make_tea", "window-scheduler", "test", datetime.now(UTC))
    world.wait(lambda: world.jobs.get(asked).state == "failed", "the trigger to fail", 5)
    assert "no job make_tea" in (world.jobs.get(asked).result or "")


def test_a_job_that_raises_is_told_and_runs_again(world: World) -> None:
    world.put("fail")
    world.start()
    world.daemon.wait_state("window-scheduler", "running", 60)
    world.wait(lambda: (found := world.jobs.all()) and found[0].last_error, "the error in the job table")
    assert "the sky fell" in str(world.jobs.all()[0].last_error)
    assert any(line["event"] == "job.failed" and "ValueError" in line["exception"] for line in world.events())
    asked = world.jobs.request("window_scan", "window-scheduler", "test", datetime.now(UTC))
    world.wait(lambda: world.jobs.get(asked).state == "failed", "the trigger to fail", 5)
    world.diary.with_name("fail").unlink()
    asked = world.jobs.request("window_scan", "window-scheduler", "test", datetime.now(UTC))
    world.wait(lambda: world.jobs.get(asked).state == "done", "the trigger to be done", 5)
    world.wait(lambda: world.jobs.all()[0].last_error is None, "the error to be cleared")


def test_the_job_table_is_written_when_something_changed_only(world: World) -> None:
    world.start()
    world.settle()
    (first,) = world.jobs.all()
    assert (first.name, first.worker, first.period_seconds) == ("window_scan", "window-scheduler", 3600)
    asked = world.jobs.request("window_scan", "window-scheduler", "test", datetime.now(UTC))
    world.wait(lambda: world.jobs.get(asked).state == "done", "the trigger to be done", 5)
    assert world.jobs.all() == [first], "a run that changed nothing is not worth a row"


def test_what_is_in_flight_may_finish_and_then_the_callbacks_run(world: World) -> None:
    world.put("busy")
    world.start()
    world.settle()
    pid = world.row()["pid"]
    ask(world.daemon.run, {"do": "stop", "worker": "window-scheduler"})
    world.wait(lambda: world.row()["draining"], "the drain")
    assert world.row()["in_flight"] == 1
    assert world.row()["pid"] == pid
    assert "stopped last-added" not in world.lines()
    world.diary.with_name("busy").unlink()
    world.daemon.wait_state("window-scheduler", "stopped", 5)
    assert world.lines()[-2:] == ["stopped last-added", "stopped first-added"]
    assert world.row()["last_exit"] == "exit 0"


def test_a_drain_ends_by_itself_before_the_supervisor_kills(world: World) -> None:
    world.put("busy")
    world.start()
    world.settle()
    ask(world.daemon.run, {"do": "stop", "worker": "window-scheduler"})
    row = world.daemon.wait_state("window-scheduler", "stopped", 10)
    assert (row["last_exit"], row["killed"]) == ("exit 0", False)
    assert "stopped first-added" in world.lines()
    assert any(line["event"] == "worker.drain_cut" for line in world.events())


def test_a_killed_supervisor_lets_the_worker_drain(world: World) -> None:
    world.put("busy")
    world.start()
    world.settle()
    world.daemon.process.kill()
    world.daemon.process.wait(timeout=5)
    world.wait(lambda: any(line["event"] == "worker.draining" for line in world.events()), "the drain")
    world.diary.with_name("busy").unlink()
    world.wait(lambda: "stopped first-added" in world.lines(), "the callbacks")


def test_a_second_copy_refuses_to_run(world: World) -> None:
    world.start()
    world.settle()
    command = [sys.executable, str(WORKER), "window-scheduler", str(world.diary)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == EXIT_LOCKED
    assert f"window-scheduler is already running as pid {world.row()['pid']}" in second.stderr
    assert world.lines().count("started") == 1


@pytest.mark.parametrize("where", ["environment", "start"])
def test_a_wrong_setting_is_one_line_and_exit_78(world: World, where: str) -> None:
    environment = dict(os.environ)
    if where == "environment":
        environment["ORCH_PORT"] = "banana"
    else:
        world.put("wrong-setting")
    command = [sys.executable, str(WORKER), "window-scheduler", str(world.diary)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert ended.returncode == 78
    assert ended.stderr.startswith("orch: ORCH_PORT=banana is not allowed")
    assert ended.stderr.count("\n") == 1


def test_a_worker_whose_parent_is_gone_does_not_start(world: World) -> None:
    command = [sys.executable, str(WORKER), "window-scheduler", str(world.diary), f"--parent-pid={os.getppid() + 1_000_000}"]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
    assert world.lines() == []


def test_a_drained_worker_takes_no_new_work_but_stays(world: World) -> None:
    world.start()
    world.settle()
    pid, runs = world.row()["pid"], world.runs()
    ask(world.daemon.run, {"do": "drain", "worker": "window-scheduler"})
    world.wait(lambda: world.row()["draining"], "the drain")
    assert world.row()["state"] == "draining"
    with world.database.write() as session:
        raise_topic(session, "windows")
    # A heartbeat that was sent after the topic was raised shows that the worker lives on, and would show the run.
    seen = world.row()["beat_age_seconds"]
    world.wait(lambda: world.row()["beat_age_seconds"] < seen or world.row()["beat_age_seconds"] == 0.0, "another heartbeat")
    assert (world.row()["pid"], world.runs()) == (pid, runs)
    ask(world.daemon.run, {"do": "stop", "worker": "window-scheduler"})
    row = world.daemon.wait_state("window-scheduler", "stopped", 10)
    assert row["last_exit"] == "exit 0"
    assert world.lines()[-2:] == ["stopped last-added", "stopped first-added"]


def test_after_a_killed_supervisor_there_is_never_a_second_scheduler(world: World) -> None:
    world.put("busy")
    world.start()
    world.settle()
    orphan = world.row()["pid"]
    world.daemon.process.kill()
    world.daemon.process.wait(timeout=5)
    world.start()
    row = world.wait(lambda: (row := world.row())["problem"] and row, "the new one to be refused", 30)
    assert "another copy" in row["problem"]
    assert world.lines().count("started") == 1
    assert Path(f"/proc/{orphan}").exists()
    world.diary.with_name("busy").unlink()
    row = world.daemon.wait_state("window-scheduler", "running", 30)
    assert row["problem"] is None
    lines = world.lines()
    assert lines.count("started") == 2
    assert lines.index("stopped first-added") < len(lines) - 1 - lines[::-1].index("started")


def test_a_log_that_cannot_be_written_stops_no_work(world: World) -> None:
    # A real ENOSPC for every line, of the worker and of the supervisor.
    for name in ("window-scheduler", "supervisor"):
        (world.daemon.logs / f"{name}.log").symlink_to("/dev/full")
    world.start()
    world.settle()
    first = world.row()["pid"]
    asked = world.jobs.request("window_scan", "window-scheduler", "test", datetime.now(UTC))
    world.wait(lambda: world.jobs.get(asked).state == "done", "the trigger to be done", 5)
    os.kill(first, signal.SIGKILL)
    world.wait(lambda: world.row()["pid"] not in {first, None}, "a replacement")
    world.daemon.wait_state("window-scheduler", "running", 60)
    assert (world.daemon.logs / "window-scheduler.out").read_text() == "", "no traceback for each line either"


def test_a_running_daemon_survives_a_full_disk(small_disk: Any, world: World) -> None:
    world.start()
    world.settle()
    small_disk.fill()
    with pytest.raises(DatabaseUnavailable, match="full"):
        world.jobs.request("window_scan", "window-scheduler", "x" * 20_000, datetime.now(UTC))
    first = world.row()["pid"]
    os.kill(first, signal.SIGKILL)
    world.wait(lambda: world.row()["pid"] not in {first, None}, "a replacement")
    row = world.daemon.wait_state("window-scheduler", "running", 60)
    small_disk.empty()
    asked = world.jobs.request("window_scan", "window-scheduler", "test", datetime.now(UTC))
    world.wait(lambda: world.jobs.get(asked).state == "done", "the trigger to be done", 10)
    assert world.row()["pid"] == row["pid"]
    ask(world.daemon.run, {"do": "stop", "worker": "window-scheduler"})
    world.daemon.wait_state("window-scheduler", "stopped")
    # Both read whole lines only.
    assert world.daemon.events("worker.exited")[-1]["exit"] == "exit 0"
    assert world.events()[-1]["event"] == "worker.stopped"


def test_by_hand_it_runs_without_a_supervisor(world: World) -> None:
    process = subprocess.Popen([sys.executable, str(WORKER), "window-scheduler", str(world.diary)])
    try:
        world.wait(lambda: world.runs() >= 1, "a run", 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
