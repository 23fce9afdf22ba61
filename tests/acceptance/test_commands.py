"""What people get wrong, and the commands that steer a running daemon."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)

YESTERDAY = f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%d}"
JOBS = {"window_scan", "call_dispatch", "call_orchestrator", "call_reconciliation"}


def contact(*, phone: str = "+12025550119", timezone: str = "America/New_York", name: str = "Wrong") -> list[str]:
    return ["contact", "add", "--name", name, "--phone", phone, "--timezone", timezone]


def window(*when: str) -> list[str]:
    return ["window", "add", "Ada", *when]


@pytest.fixture(scope="module")
def quiet(install: Callable[..., Any]) -> Any:
    """An installation that is not running, with one contact."""
    made = install()
    assert made.orch("init").returncode == 0
    made.contact("Ada", "+12025550110")
    return made


@pytest.fixture(scope="module")
def daemon(install: Callable[..., Any]) -> Any:
    return install(USE_ENHANCED_CALLS="false").start()


def test_a_place_where_orch_was_never_set_up_is_not_made_one_by_looking(install: Callable[..., Any]) -> None:
    nowhere = install()
    refused(nowhere.orch("call", "list"), 5, "orch init", "ORCH_HOME")
    assert not (nowhere.home / "keys").exists()


def refused(ran: Any, code: int, *fragments: str) -> None:
    """One line on stderr that says what is wrong, nothing on stdout, the exit code that scripts rely on."""
    assert ran.returncode == code, f"{ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    assert ran.stdout == ""
    assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr
    assert ran.stderr.startswith("orch: ")
    for fragment in fragments:
        assert fragment in ran.stderr, ran.stderr


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        pytest.param(window("--days", "mon", "--start", "09:00", "--end", "09:00"), 2, ["09:00"], id="window of no length"),
        pytest.param(window("--days", "mon", "--start", "25:00", "--end", "09:00"), 2, ["25:00"], id="no such time"),
        pytest.param(window("--days", "someday", "--start", "08:00", "--end", "09:00"), 2, ["someday"], id="no such day"),
        pytest.param(window("--start", "08:00", "--end", "09:00"), 2, ["--days", "--date"], id="neither days nor date"),
        pytest.param(window("--days", "mon", "--start", "02:00", "--end", "03:00"), 2, ["08:00-21:00"], id="at night"),
        pytest.param(window("--date", YESTERDAY, "--start", "08:00", "--end", "09:00"), 1, ["over"], id="in the past"),
        pytest.param(["window", "add", "Nobody", "--days", "mon", "--start", "08:00", "--end", "09:00"], 1, ["Nobody"], id="no contact"),
        pytest.param(contact(timezone="Mars/Olympus"), 2, ["Mars/Olympus"], id="unknown zone"),
        pytest.param(contact(timezone="America/NewYork"), 2, ["did you mean America/New_York"], id="misspelt zone"),
        pytest.param(contact(phone="2025550119"), 2, ["E.164"], id="not E.164"),
        pytest.param(contact(phone="+1202555"), 2, ["too short"], id="too short"),
        pytest.param(contact(phone="+18005550119"), 2, ["toll-free"], id="toll-free"),
        pytest.param(contact(phone="+442071838750"), 2, ["ORCH_COUNTRIES"], id="another country"),
        pytest.param([*contact(), "--plan", "tlak"], 1, ["did you mean talk"], id="unknown plan"),
        pytest.param(contact(name="Ada", phone="+12025550110"), 1, ["already"], id="the same person again"),
        pytest.param(["logs", "--worker", "coffee-maker"], 2, ["coffee-maker", "window-scheduler"], id="unknown worker"),
        pytest.param(["trigger", "window_scna"], 2, ["did you mean window_scan"], id="unknown job"),
        pytest.param(["call", "show", "ffff"], 1, ["orch call list"], id="no such call"),
        pytest.param(["journal", "show", "ffff"], 1, ["ffff"], id="no such entry"),
        pytest.param(["call", "list", "--state", "happy"], 2, ["happy", "completed"], id="no such state"),
        pytest.param(["trigger", "window_scan"], 3, ["not running"], id="trigger without a daemon"),
        pytest.param(["restart", "window-scheduler"], 3, ["not running"], id="restart without a daemon"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_code(quiet: Any, words: list[str], code: int, fragments: list[str]) -> None:
    ran = quiet.orch(*words)
    refused(ran, code, *fragments)
    # Numbers are people's: they are not repeated into terminals and their logs.
    assert "5550119" not in ran.stderr


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("MAX_RETRY_COUNT", "lots", "MAX_RETRY_COUNT=lots"),
        ("MAX_RETRY_COUNT", "-1", "MAX_RETRY_COUNT=-1"),
        ("RETRY_INTERVALS", "0.5,soon", "0.5,24"),
        ("ORCH_RING_SECONDS", "3", "ORCH_RING_SECONDS=3"),
        ("USE_LANGGRAPH", "true", "USE_LANGGRAPH=true"),
        ("ORCH_CARRIER", "pigeon", "ORCH_CARRIER=pigeon"),
        ("ORCH_CARRIER", "twilio", "TWILIO_ACCOUNT_SID"),
        ("ORCH_PERMITTED_UNTIL", "07:00", "ORCH_PERMITTED_UNTIL=07:00"),
    ],
)
def test_a_wrong_setting_stops_every_command_with_its_name(quiet: Any, name: str, value: str, wanted: str) -> None:
    commands = [["start-all"], ["contact", "list"]] if value == "lots" else [["contact", "list"]]
    for words in commands:
        refused(quiet.orch(*words, **{name: value}), 5, wanted)


def test_nothing_refused_was_stored(quiet: Any) -> None:
    assert [each["name"] for each in quiet.json("contact", "list")] == ["Ada"]
    assert quiet.json("window", "list") == []


def test_a_daemon_that_is_down_is_told_apart_from_one_that_is_ill(quiet: Any) -> None:
    down = quiet.orch("status", "--json")
    assert down.returncode == 3
    assert json.loads(down.stdout)["running"] is False
    assert quiet.orch("stop-all").returncode == 0
    assert quiet.json("jobs")["running"] is False


def test_status_and_jobs_as_json(daemon: Any) -> None:
    status = daemon.json("status")
    assert status["running"] is True
    assert status["paused"] is None
    assert status["problems"] == []
    assert [row["state"] for row in status["workers"]] == ["running"] * 5
    assert all(row["cpu_percent"] is not None and row["memory_bytes"] > 0 for row in status["workers"])
    assert status["supervisor"]["database"] == f"sqlite:///{daemon.home}/data/orch.db"
    header = daemon.done("status", "--wait", "ready").splitlines()
    assert f"version {status['supervisor']['version']}" in header[0]
    assert f"http://127.0.0.1:{daemon.environment['ORCH_PORT']}" in header[1]
    jobs = daemon.json("jobs")["jobs"]
    assert {job["name"] for job in jobs} == JOBS
    assert all(job["next_run"] is not None and job["last_error"] is None for job in jobs)
    # What ran since the start comes with a heartbeat, once a second.
    daemon.until(lambda: all(job["last_run"] for job in daemon.json("jobs")["jobs"]), "the first run of each job", 20, every=0.5)


def test_a_triggered_job_runs_now_and_says_what_it_did(daemon: Any) -> None:
    before = daemon.sql("SELECT count(*) FROM triggers")
    assert "nothing was triggered" in daemon.done("trigger", "window_scan", "--dry-run")
    assert daemon.sql("SELECT count(*) FROM triggers") == before
    begun = datetime.now(UTC)
    assert daemon.done("trigger", "window_scan", "--wait").startswith("window_scan: done")
    view = json.loads(daemon.done("trigger", "job", "call_dispatch", "--wait", "--json"))
    assert (view["job"], view["worker"], view["state"]) == ("call_dispatch", "call-scheduler", "done")

    def told() -> bool:
        last = {job["name"]: job["last_run"] for job in daemon.json("jobs")["jobs"]}
        return all(last[name] and datetime.fromisoformat(last[name]) >= begun for name in ("window_scan", "call_dispatch"))

    daemon.until(told, "the heartbeat that tells of the runs", 10, every=0.5)
    ((asked,),) = daemon.sql("SELECT count(*) FROM triggers WHERE id = ? AND state = 'done' AND requested_by LIKE 'cli:%'", view["id"])
    assert asked == 1


def test_a_job_whose_worker_is_down_is_refused_and_does_not_fire_later(daemon: Any) -> None:
    assert "window-scheduler is" in daemon.done("stop", "window")
    try:
        daemon.until(lambda: daemon.worker("window-scheduler")["state"] == "stopped", "the end of the window-scheduler", 20, every=0.3)
        before = daemon.sql("SELECT count(*) FROM triggers")
        refused(daemon.orch("trigger", "window_scan"), 3, "window-scheduler", "stopped")
        assert daemon.sql("SELECT count(*) FROM triggers") == before
        assert any("orch start window-scheduler" in problem["hint"] for problem in daemon.json("status")["problems"])
    finally:
        daemon.done("start", "window-worker")
    daemon.until(lambda: daemon.worker("window-scheduler")["state"] == "running", "the window-scheduler", 40, every=0.3)
    assert daemon.sql("SELECT count(*) FROM triggers WHERE job = 'window_scan' AND state <> 'done'") == [(0,)]


def test_worker_names_may_be_shortened_but_not_guessed(daemon: Any) -> None:
    refused(daemon.orch("restart", "w"), 2, "window-scheduler or webhook-server")
    refused(daemon.orch("restart", "coffee-maker"), 2, "call-scheduler")


def test_pause_holds_calls_back_and_resume_lets_them_through(daemon: Any) -> None:
    phone = "+12025550112"
    person = daemon.contact("Paula", phone, "short")
    daemon.done("pause", "--reason", "fire drill")
    try:
        call = daemon.call_now(person)
        daemon.until(lambda: daemon.sql("SELECT 1 FROM verdicts WHERE scheduled_call_id = ? AND NOT allowed", call), "a verdict", 15)
        held = daemon.call(call)
        assert (held["state"], held["attempts"]) == ("pending", [])
        assert [v["rule"] for v in held["verdicts"] if not v["allowed"]] == ["kill_switch"]
        assert "fire drill" in held["reason"]
        daemon.done("trigger", "call_dispatch", "--wait")
        assert daemon.carried(phone) == []
        daemon.until(lambda: "fire drill" in (daemon.json("status")["paused"] or ""), "the pause in the status", 10, every=0.3)
    finally:
        daemon.done("resume")
    done = daemon.until_over(call)
    assert done["state"] == "completed"
    assert len(daemon.carried(phone)) == 1
    # The log of this very call, through all workers, by any of its ids.
    attempt = done["attempts"][0]
    told = daemon.done("logs", "--json", "--call", call[:12])
    lines = [json.loads(line) for line in told.splitlines()]
    assert {"call-scheduler", "webhook-server"} <= {line["worker"] for line in lines}
    assert {"call.dialled", "call.closed"} <= {line["event"] for line in lines}
    ids = {call, attempt["id"], attempt["carrier_call_id"]}
    assert all(ids & {line.get(key) for key in ("call", "attempt", "carrier_call", "call_sid")} for line in lines)
    for other in (attempt["id"], attempt["carrier_call_id"]):
        assert daemon.done("logs", "--json", "--call", other) == told


def test_starting_and_stopping_twice_changes_nothing(daemon: Any) -> None:
    pid = daemon.json("status")["supervisor"]["pid"]
    again = daemon.orch("start-all")
    assert again.returncode == 0
    assert f"already running (pid {pid})" in again.stdout
    assert daemon.json("status")["supervisor"]["pid"] == pid
    try:
        assert "stopped" in daemon.done("stop-all")
        assert daemon.done("stop-all").strip() == "orch is not running"
        assert daemon.orch("status").returncode == 3
        refused(daemon.orch("trigger", "window_scan"), 3, "not running")
    finally:
        daemon.start()
    assert daemon.json("status")["supervisor"]["pid"] != pid
