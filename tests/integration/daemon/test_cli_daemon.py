"""The `orch` command and a real daemon."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("runtime_worker.py")
HEAVY = {"sqlalchemy", "fastapi", "google", "langgraph", "twilio", "celery", "structlog"}


class Orch:
    """Runs `orch` with a home of its own."""

    def __init__(self, daemon: Any) -> None:
        self.daemon = daemon
        self.environment = {**os.environ, "ORCH_HOME": str(daemon.home)}

    def command(self, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        return [sys.executable, *options, "-m", "cli.main", *arguments]

    def __call__(
        self, *arguments: str, code: int = 0, options: tuple[str, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            self.command(*arguments, options=options),
            cwd=CHECKOUT,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ended.returncode == code, f"orch {' '.join(arguments)}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        assert "Traceback" not in ended.stderr.replace("| Traceback", "")
        return ended

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code).stdout)

    def up(self, *more: str, code: int = 0, **workers: Any) -> subprocess.CompletedProcess[str]:
        return self("start-all", "--roster", str(self.daemon.write_roster(**workers)), *more, code=code)


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with keys and an empty database, which take longer to make than to copy."""
    home = tmp_path_factory.mktemp("initialised")
    command = [sys.executable, "-m", "cli.main", "init"]
    subprocess.run(command, cwd=CHECKOUT, env={**os.environ, "ORCH_HOME": str(home)}, check=True, capture_output=True)
    return home


@pytest.fixture
def orch(daemon: Any, initialised: Path) -> Iterator[Orch]:
    for folder in ("data", "keys"):
        shutil.copytree(initialised / folder, daemon.home / folder)
    yield from _orch(daemon)


@pytest.fixture
def fresh_orch(daemon: Any) -> Iterator[Orch]:
    """Where nothing is set up."""
    yield from _orch(daemon)


def _orch(daemon: Any) -> Iterator[Orch]:
    yield Orch(daemon)
    # The daemon is not ours to wait for: it was started by the command, in a session of its own.
    status = daemon.alive_status()
    if status is not None:
        subprocess.run(
            Orch(daemon).command("stop-all", "--now", "--yes"), cwd=CHECKOUT, env=Orch(daemon).environment, timeout=60, check=False
        )


def test_from_nothing_to_running_and_back(fresh_orch: Orch) -> None:
    orch = fresh_orch
    assert "orch is not running" in orch("status", code=3).stdout
    assert orch.json("status", code=3)["running"] is False
    first = orch.up(one=("steady",), two=("steady",))
    assert "all 2 workers are ready" in first.stdout
    again = orch("start-all")
    assert "orch is already running" in again.stdout
    status = orch.json("status")
    assert [(row["name"], row["state"]) for row in status["workers"]] == [("one", "running"), ("two", "running")]
    assert status["problems"] == []
    table = orch("status").stdout
    assert "NAME" in table
    assert "\x1b" not in table
    assert "orch is stopped" in orch("stop-all").stdout
    assert "orch is not running" in orch("stop-all").stdout


def test_two_starts_at_once_make_one_daemon(orch: Orch) -> None:
    roster = str(orch.daemon.write_roster(one=("steady",)))
    command = orch.command("start-all", "--roster", roster)
    both = [
        subprocess.Popen(command, cwd=CHECKOUT, env=orch.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=90) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert len(orch.daemon.events("supervisor.started")) == 1


def test_a_worker_that_does_not_come_up_is_named_with_its_last_lines(orch: Orch) -> None:
    ended = orch.up(good=("steady",), bad=("refuse",), code=4)
    assert "bad: a setting is wrong" in ended.stderr
    assert "ORCH_PORT=banana is not allowed" in ended.stderr
    status = orch.json("status", code=4)
    (problem,) = status["problems"]
    assert problem["worker"] == "bad"
    assert "orch restart bad" in problem["hint"]


def test_a_worker_that_takes_too_long_is_named(orch: Orch) -> None:
    ended = orch.up("--wait", "1", slow=("silent",), code=124)
    assert "slow: not ready yet" in ended.stderr


def test_a_taken_port_is_exit_5_and_nothing_is_started(orch: Orch, free_port: int) -> None:
    import socket

    with socket.create_server(("127.0.0.1", free_port)):
        ended = orch.up(web={"command": ("steady",), "listen": {"host": "127.0.0.1", "port": free_port}}, code=5)
    assert f"orch: port {free_port} for web is taken by pid {os.getpid()}" in ended.stderr
    assert orch.daemon.alive_status() is None


def test_a_wrong_setting_is_one_line_and_exit_5(orch: Orch) -> None:
    ended = orch("start-all", code=5, ORCH_PORT="banana")
    assert ended.stderr.startswith("orch: ORCH_PORT=banana is not allowed")
    assert ended.stderr.count("\n") == 1


def test_workers_of_a_killed_supervisor_are_waited_for(orch: Orch) -> None:
    roster = orch.daemon.write_roster(one=("steady",))
    hold = "lock = take_worker_lock(pathlib.Path(sys.argv[1]), 'one'); print(lock.path, flush=True); sys.stdin.read()"
    program = f"import sys, pathlib; from workers.process import take_worker_lock; {hold}"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            program,
            str(orch.daemon.run),
        ],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        ended = orch("start-all", "--roster", str(roster), "--wait", "1", code=5)
        assert f"one (pid {holder.pid})" in ended.stderr
    finally:
        holder.communicate()
    orch("start-all", "--roster", str(roster))


def test_one_worker_is_restarted_by_part_of_its_name(orch: Orch) -> None:
    orch.up(media_server=("steady",))
    before = orch.json("status")["workers"][0]["pid"]
    orch("restart", "media")
    orch.daemon.wait_for(lambda: orch.daemon.worker("media-server")["pid"] not in {before, None}, "a new process")
    orch.daemon.wait_state("media-server", "running")
    orch("stop", "media")
    orch.daemon.wait_state("media-server", "stopped")
    assert "no worker is called 'tea'" in orch("restart", "tea", code=2).stderr


def test_a_kill_past_the_deadline_is_exit_4(orch: Orch) -> None:
    orch.up(one={"command": ("stubborn",), "drain_seconds": 0.5})
    assert "one did not end in time and was killed" in orch("stop-all", code=4).stderr


def test_cutting_calls_wants_a_yes(orch: Orch) -> None:
    orch.up(media_server={"command": ("drain", 60), "drain_seconds": 100})
    refused = orch("stop-all", "--now", code=2)
    assert "would cut 1 live call" in refused.stderr
    assert orch.json("status")["supervisor"]["state"] == "running"
    orch("stop-all", "--now", "--yes")


def test_a_drain_tells_what_it_waits_for(orch: Orch) -> None:
    orch.up(media_server={"command": ("drain", 1.5), "drain_seconds": 30})
    assert "media-server: 1 call, " in orch("stop-all").stderr


def test_a_worker_that_was_given_up_is_started_again_and_tells_why_when_it_fails_again(orch: Orch) -> None:
    orch.up(bad=("refuse",), code=4)
    ended = orch("start", "bad", code=4)
    assert "bad: a setting is wrong" in ended.stderr
    assert "ORCH_PORT=banana is not allowed" in ended.stderr
    assert len(orch.daemon.events("worker.started")) == 2


@pytest.mark.parametrize("do", ["stop", "restart"])
def test_cutting_the_calls_of_one_worker_wants_a_yes(orch: Orch, do: str) -> None:
    orch.up(media_server=("calls", 2), other=("steady",))
    pid = orch.daemon.wait_state("media-server", "running")["pid"]
    refused = orch(do, "media", "--now", code=2)
    assert f"`{do} media-server --now` would cut 2 live calls; say --yes" in refused.stderr
    assert orch.daemon.worker("media-server")["pid"] == pid
    done = orch(do, "media", "--now", "--yes").stdout
    assert ("is stopped" if do == "stop" else "is running") in done
    assert orch.daemon.worker("media-server")["pid"] != pid


def test_stopping_one_worker_tells_what_it_waits_for(orch: Orch) -> None:
    orch.up(media_server={"command": ("drain", 1), "drain_seconds": 30})
    ended = orch("stop", "media")
    assert "media-server: 1 call, " in ended.stderr
    assert "media-server is stopped" in ended.stdout


def test_without_calls_workers_are_drained_and_restarted_and_nobody_is_asked(orch: Orch) -> None:
    orch.up(call_scheduler=("steady",), media_server=("steady",))
    assert "media-server takes no new work" in orch("drain", "media").stdout
    assert orch.daemon.worker("media-server")["state"] == "draining"
    assert "media-server is running" in orch("restart", "media", "--now").stdout
    orch("stop-all", "--now")


def test_a_reload_goes_through_all_workers(orch: Orch) -> None:
    orch.up(one=("steady",), two=("steady",))
    before = {row["name"]: row["pid"] for row in orch.daemon.status()["workers"]}
    ended = orch("reload")
    # What is seen of it depends on how often one looks.
    assert re.search(r"restarting (one \(1 of 2\)|two \(2 of 2\))", ended.stderr)
    assert "all 2 workers were restarted" in ended.stdout
    after = {row["name"]: row["pid"] for row in orch.daemon.status()["workers"]}
    assert not set(before.values()) & set(after.values())


def test_a_reload_that_would_move_a_port_is_refused(orch: Orch) -> None:
    orch.up(media_server=("steady",))
    pid = orch.daemon.worker("media-server")["pid"]
    refused = orch("reload", code=1, ORCH_MEDIA_PORT="18999")
    assert "media-server would listen on 127.0.0.1:18999" in refused.stderr
    assert "`orch stop-all` and `orch start-all`" in refused.stderr
    assert orch.daemon.worker("media-server")["pid"] == pid


def test_interrupting_a_stop_leaves_it_going_on(orch: Orch) -> None:
    orch.up(media_server={"command": ("drain", 60), "drain_seconds": 100})
    process = subprocess.Popen(orch.command("stop-all"), cwd=CHECKOUT, env=orch.environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "media-server: 1 call, " in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "orch goes on stopping" in said
    assert orch.daemon.status()["supervisor"]["state"] == "stopping"
    assert "orch is stopped" in orch("stop-all", "--now", "--yes").stdout


def foreground(orch: Orch) -> pexpect.spawn[str]:
    """`start-all --foreground` in a terminal, with the one worker that takes a minute for its drain."""
    roster = str(orch.daemon.write_roster(media_server={"command": ("drain", 60), "drain_seconds": 100}))
    words = orch.command("start-all", "--foreground", "--roster", roster)
    terminal = pexpect.spawn(words[0], words[1:], cwd=str(CHECKOUT), env=orch.environment, encoding="utf-8", timeout=30)
    terminal.expect("Ctrl-C stops orch; closing the terminal does not")
    return terminal


def test_closing_the_terminal_leaves_the_daemon_alone(orch: Orch) -> None:
    terminal = foreground(orch)
    before = orch.daemon.status()
    # The kernel hangs up on whatever has this terminal.
    terminal.close(force=False)
    orch.daemon.wait_for(lambda: not terminal.isalive(), "the command to end", 10)
    assert terminal.signalstatus == signal.SIGHUP
    after = orch.daemon.status()
    assert after["supervisor"]["pid"] == before["supervisor"]["pid"]
    assert [(row["pid"], row["state"]) for row in after["workers"]] == [(row["pid"], "running") for row in before["workers"]]
    assert orch.daemon.events("supervisor.signal") == []


def test_the_second_ctrl_c_skips_the_drain(orch: Orch) -> None:
    terminal = foreground(orch)
    terminal.sendintr()
    terminal.expect("Ctrl-C again cuts calls")
    terminal.expect("media-server: 1 call, ")
    assert orch.daemon.worker("media-server")["state"] == "stopping"
    terminal.sendintr()
    terminal.expect("orch is stopped")
    terminal.expect(pexpect.EOF)
    orch.daemon.wait_for(lambda: not terminal.isalive(), "the command to end", 10)
    assert terminal.exitstatus == 0
    assert orch.daemon.alive_status() is None


def test_foreground_shows_logs_and_ends_with_the_daemon_on_sigterm(orch: Orch) -> None:
    roster = str(orch.daemon.write_roster(one=("steady",)))
    process = subprocess.Popen(
        orch.command("start-all", "--foreground", "--roster", roster),
        cwd=CHECKOUT,
        env=orch.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Ctrl-C stops orch" in line:
            break
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "orch is stopped" in output
    assert orch.daemon.alive_status() is None


def test_logs_of_all_and_of_one(orch: Orch) -> None:
    def line(second: int, worker: str, level: str = "info") -> str:
        return (
            json.dumps({"ts": f"2026-01-01T00:00:{second:02d}.000Z", "level": level, "worker": worker, "event": f"e{second}", "to": "a b"})
            + "\n"
        )

    (orch.daemon.logs / "call-scheduler.log").write_text(line(1, "call-scheduler") + line(4, "call-scheduler", "error"))
    (orch.daemon.logs / "media-server.log").write_text(line(2, "media-server") + line(3, "media-server"))

    def events(*arguments: str) -> list[str]:
        return [json.loads(one)["event"] for one in orch("logs", *arguments).stdout.splitlines()]

    assert events() == ["e1", "e2", "e3", "e4"]
    assert events("--tail", "2") == ["e3", "e4"]
    assert events("--worker", "call-worker") == ["e1", "e4"]
    assert events("--worker", "media", "--worker", "call") == ["e1", "e2", "e3", "e4"]
    assert events("--level", "warning") == ["e4"]
    for_people = orch("logs", "--worker", "media", FORCE_COLOR="1", NO_COLOR="1").stdout
    assert 'media-server | e2 to="a b"' in for_people
    assert "did you mean media-server?" in orch("logs", "--worker", "medai-server", code=2).stderr
    assert "levels: debug" in orch("logs", "--level", "loud", code=2).stderr


def test_logs_are_followed_through_a_rotation(orch: Orch) -> None:
    log = orch.daemon.logs / "call-scheduler.log"
    log.write_text('{"event":"first"}\n')
    process = subprocess.Popen(
        orch.command("logs", "-f", "-w", "call"), cwd=CHECKOUT, env=orch.environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert "first" in process.stdout.readline()
        with log.open("a") as file:
            file.write('{"event":"second"}\n')
        log.rename(log.with_name("call-scheduler.log.1"))
        log.write_text('{"event":"third"}\n')
        assert "second" in process.stdout.readline()
        assert "third" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
    finally:
        process.kill()
        process.communicate()


def test_jobs_and_triggers(orch: Orch) -> None:
    diary = orch.daemon.home / "diary"
    roster = orch.daemon.home / "jobs-roster.json"
    command = [sys.executable, str(WORKER), "window-scheduler", str(diary)]
    roster.write_text(json.dumps({"workers": [{"name": "window-scheduler", "command": command}]}))
    assert "orch is not running" in orch("trigger", "window_scan", code=3).stderr
    orch("start-all", "--roster", str(roster))
    orch.daemon.wait_for(lambda: diary.read_text().count("window_scan") >= 2, "the first runs")
    assert "paused: a test" in orch("status").stdout

    (job,) = orch.json("jobs")["jobs"]
    assert (job["name"], job["worker"], job["period_seconds"]) == ("window_scan", "window-scheduler", 3600)
    for words in (("window_scan",), ("job", "window_scan")):
        runs = diary.read_text().count("window_scan")
        done = orch.json("trigger", *words, "--wait")
        assert done["state"] == "done"
        assert json.loads(done["result"])["runs"] == runs + 1
    runs = diary.read_text().count("window_scan")
    assert orch.json("trigger", "window_scan")["state"] == "requested"
    orch.daemon.wait_for(lambda: diary.read_text().count("window_scan") == runs + 1, "the run that nobody waits for", 3)

    diary.with_name("fail").write_text("")
    assert "the sky fell" in orch("trigger", "window_scan", "--wait", code=1).stdout
    unknown = orch("trigger", "window_scam", code=2)
    assert "did you mean window_scan?" in unknown.stderr

    runs = diary.read_text().count("window_scan")
    assert "nothing was triggered" in orch("trigger", "call_dispatch", code=3).stderr
    orch("stop", "window")
    orch.daemon.wait_state("window-scheduler", "stopped")
    assert "is stopped; nothing was triggered" in orch("trigger", "window_scan", code=3).stderr
    orch("stop-all")
    (known,) = orch.json("jobs")["jobs"]
    assert "the sky fell" in known["last_error"]
    diary.with_name("fail").unlink()
    orch("start-all", "--roster", str(roster))
    orch.daemon.wait_for(lambda: diary.read_text().count("window_scan") >= runs + 2, "the runs of the new start")
    # One at the start and one that it asks for: a trigger kept for later would make a third.
    assert diary.read_text().count("window_scan") == runs + 2


@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("logs",), ("stop-all",), ("--help",), ("logs", "--help")])
@pytest.mark.parametrize("running", [True, False])
def test_the_quick_commands_load_nothing_heavy(orch: Orch, arguments: tuple[str, ...], running: bool) -> None:
    if running:
        orch.daemon.start(one=("steady",))
    ended = subprocess.run(
        orch.command(*arguments, options=("-X", "importtime")),
        cwd=CHECKOUT,
        env=orch.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.stderr.splitlines() if line.startswith("import time:")}
    assert "typer" in loaded, "the list of imports was not read"
    assert not loaded & HEAVY


def test_version_hides_the_password(orch: Orch) -> None:
    shown = orch("--version", ORCH_DATABASE_URL="postgresql://u:very-secret@127.0.0.1/x").stdout
    assert shown.startswith("orch ")
    assert "Python 3." in shown
    assert "very-secret" not in shown


def test_an_unknown_command_is_exit_2(orch: Orch) -> None:
    orch("dance", code=2)
