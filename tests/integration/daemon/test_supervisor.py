"""Real processes, real signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from core.errors import Conflict, NotRunning
from workers import launch
from workers.control import ask
from workers.preflight import PreflightFailed, check_folders, check_ports
from workers.process import FileLock, worker_lock
from workers.roster import Address, WorkerSpec
from workers.spawn import open_output


def alive(pid: int) -> bool:
    """Running, and not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def test_workers_are_started_reported_and_stopped(daemon: Any) -> None:
    daemon.start(one=("steady",), two=("steady",))
    pids = [daemon.wait_state(name, "running")["pid"] for name in ("one", "two")]
    assert all(alive(pid) for pid in pids)
    row = daemon.worker("one")
    assert row["restarts"] == 0
    assert row["memory_bytes"] > 1_000_000
    assert row["beat_age_seconds"] < 5
    assert ask(daemon.run, {"do": "stop-all"}) == {"ok": True}
    assert daemon.process.wait(timeout=10) == 0
    assert not any(alive(pid) for pid in pids)
    assert sorted(path.name for path in daemon.run.iterdir()) == ["orch.lock"]
    with pytest.raises(NotRunning):
        daemon.status()


def test_the_socket_is_for_this_user_alone(daemon: Any) -> None:
    daemon.start(one=("steady",))
    mode = (daemon.run / "orch.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_deep_home_folder_is_reached_all_the_same(daemon: Any) -> None:
    deep = daemon.home / ("d" * 80) / ("e" * 80)
    other = type(daemon)(deep)
    try:
        other.start(one=("steady",))
        assert other.wait_state("one", "running")
    finally:
        other.end()


def test_a_killed_worker_is_replaced_at_once(daemon: Any) -> None:
    daemon.start(one=("steady",))
    before = daemon.wait_state("one", "running")["pid"]
    os.kill(before, signal.SIGKILL)
    daemon.wait_for(lambda: daemon.worker("one")["pid"] not in {before, None}, "a replacement", 5)
    row = daemon.wait_state("one", "running", 5)
    assert row["restarts"] == 1
    assert row["last_exit"] == "SIGKILL"


def test_a_crash_loop_ends_and_the_last_lines_are_kept(daemon: Any) -> None:
    daemon.start(bad=("crash", 0), good=("steady",))
    row = daemon.wait_state("bad", "fatal", 30)
    assert "6 crashes" in row["problem"]
    (given_up,) = daemon.events("worker.given_up")
    assert given_up["worker_name"] == "bad"
    assert len([line for line in daemon.events("worker.started") if line["worker_name"] == "bad"]) == 6
    assert daemon.events("worker.exited")[-1]["last_output"] == ["it went wrong"]
    assert daemon.worker("good")["state"] == "running"


def test_a_wrong_setting_is_not_tried_twice_and_can_be_started_again(daemon: Any) -> None:
    daemon.start(bad=("refuse",))
    row = daemon.wait_state("bad", "fatal")
    assert row["restarts"] == 0
    assert row["last_exit"] == "exit 78"
    ask(daemon.run, {"do": "start", "worker": "bad"})
    daemon.wait_for(lambda: len(daemon.events("worker.started")) == 2, "a second start")


def test_a_hung_worker_leaves_its_stack_and_is_replaced(daemon: Any) -> None:
    daemon.start(one={"command": ("hang",), "beat_late_seconds": 0.5})
    first = daemon.wait_state("one", "running")["pid"]
    daemon.wait_for(lambda: daemon.worker("one")["pid"] not in {first, None}, "a replacement", 10)
    assert not alive(first)
    assert "no heartbeat for 0.5 s" in daemon.events("worker.exited")[0]["exit"]
    output = (daemon.logs / "one.out").read_text()
    assert "Fatal Python error: Aborted" in output
    assert "dummy_worker.py" in output


def test_a_worker_that_never_gets_ready_is_replaced(daemon: Any) -> None:
    daemon.start(one={"command": ("silent",), "start_seconds": 0.5})
    line = daemon.wait_for(lambda: daemon.events("worker.exited"), "its end", 10)[0]
    assert "not ready after 0.5 s" in line["exit"]


def test_drains_go_on_side_by_side(daemon: Any) -> None:
    daemon.start(**{f"w{n}": ("drain", 1.5) for n in range(4)})
    for n in range(4):
        daemon.wait_state(f"w{n}", "running")
    began = time.monotonic()
    ask(daemon.run, {"do": "stop-all"})
    assert daemon.process.wait(timeout=15) == 0
    assert 1.4 < time.monotonic() - began < 4.5, "four drains of 1.5 s, one after another, take 6 s"


def test_a_worker_past_its_deadline_is_killed_and_that_is_told(daemon: Any) -> None:
    daemon.start(one={"command": ("stubborn",), "drain_seconds": 0.5}, two=("steady",))
    daemon.wait_state("one", "running")
    daemon.wait_state("two", "running")
    seen = list(launch.stop(daemon.run, now=False, timeout=None))
    assert seen[-1] == {"stopped": True, "killed": ["one"]}
    assert daemon.process.wait(timeout=10) == 4


def test_stop_now_skips_the_drain(daemon: Any) -> None:
    daemon.start(one={"command": ("drain", 60), "drain_seconds": 100})
    daemon.wait_state("one", "running")
    ask(daemon.run, {"do": "stop-all"})
    assert daemon.wait_state("one", "stopping")["stop_in_seconds"] > 50
    ask(daemon.run, {"do": "stop-all", "now": True})
    assert daemon.process.wait(timeout=10) == 0


def test_what_a_draining_worker_needs_stops_after_it(daemon: Any) -> None:
    daemon.start(net={"command": ("steady",), "stops_after": ["calls"]}, calls=("drain", 1))
    daemon.wait_state("net", "running")
    daemon.wait_state("calls", "running")
    ask(daemon.run, {"do": "stop-all"})
    daemon.wait_state("calls", "stopping")
    assert daemon.worker("net")["state"] == "running"
    assert daemon.process.wait(timeout=10) == 0
    assert [line["worker_name"] for line in daemon.events("worker.exited")] == ["calls", "net"]


def test_sigterm_stops_with_drain_and_the_second_one_without(daemon: Any) -> None:
    daemon.start(one={"command": ("drain", 60), "drain_seconds": 100})
    daemon.wait_state("one", "running")
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_state("one", "stopping")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(timeout=10) == 0


def test_a_closing_terminal_stops_nothing(daemon: Any) -> None:
    daemon.start(one=("steady",))
    pid = daemon.wait_state("one", "running")["pid"]
    os.kill(pid, signal.SIGHUP)
    daemon.process.send_signal(signal.SIGHUP)
    seen = daemon.worker("one")
    assert (seen["state"], seen["pid"]) == ("running", pid)
    # Signals are handled in order, so one that is answered proves that SIGHUP was dealt with.
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(timeout=10) == 0
    assert [line["signal"] for line in daemon.events("supervisor.signal")] == ["SIGTERM"]


def test_workers_do_not_outlive_a_killed_supervisor_and_it_starts_again(daemon: Any) -> None:
    daemon.start(one=("steady",))
    pid = daemon.wait_state("one", "running")["pid"]
    daemon.process.kill()
    daemon.process.wait(timeout=5)
    daemon.wait_for(lambda: not alive(pid), "the orphan to end", 5)
    assert (daemon.run / "orch.sock").exists(), "the dead one's socket is in the way"
    daemon.start(one=("steady",))
    assert daemon.wait_state("one", "running")["pid"] != pid


def test_children_of_a_worker_are_swept_with_it(daemon: Any) -> None:
    daemon.start(one=("family",))
    worker = daemon.wait_state("one", "running")["pid"]
    text = daemon.wait_for((daemon.logs / "one.out").read_text, "the child's pid")
    child = int(text.split()[1])
    assert alive(child)
    os.kill(worker, signal.SIGKILL)
    daemon.wait_for(lambda: not alive(child), "the grandchild to end", 5)


def test_there_is_one_supervisor(daemon: Any) -> None:
    daemon.start(one=("steady",))
    first = daemon.process
    second = daemon.start_supervisor(daemon.home / "test-roster.json")
    assert second.wait(timeout=10) == 3
    assert f"already running as pid {first.pid}" in (daemon.home / "supervisor.err").read_text()
    daemon.process = first
    assert daemon.status()["supervisor"]["pid"] == first.pid


def test_a_stale_pid_file_of_a_living_stranger_means_nothing(daemon: Any) -> None:
    (daemon.run / "orch.pid").write_text(f"{os.getpid()}\n")
    daemon.start(one=("steady",))
    assert daemon.wait_state("one", "running")
    assert (daemon.run / "orch.pid").read_text() == f"{daemon.process.pid}\n"


def test_one_worker_is_stopped_started_and_restarted(daemon: Any) -> None:
    daemon.start(one=("steady",), two=("steady",))
    two = daemon.wait_state("two", "running")["pid"]
    first = daemon.wait_state("one", "running")["pid"]
    ask(daemon.run, {"do": "stop", "worker": "one"})
    daemon.wait_state("one", "stopped")
    ask(daemon.run, {"do": "start", "worker": "one"})
    second = daemon.wait_state("one", "running")["pid"]
    ask(daemon.run, {"do": "restart", "worker": "one"})
    daemon.wait_for(lambda: daemon.worker("one")["pid"] not in {second, None}, "a new process")
    assert len({first, second, daemon.wait_state("one", "running")["pid"]}) == 3
    assert daemon.worker("two")["pid"] == two


def test_nonsense_on_the_socket_is_answered_and_survived(daemon: Any) -> None:
    daemon.start(one=("steady",))
    for nonsense in (b"hello\n", b"[1]\n", b"\xff\xfe\n", b"\n", b"x" * 100_000 + b"\n"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(daemon.run / "orch.sock"))
            # It hangs up on those that go on for too long.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(nonsense)
    odd = ({"do": "stop-all", "timeout": "soon"}, {"do": "stop-all", "timeout": [1]}, {"do": ["status"]}, {"do": "stop", "worker": ["one"]})
    for request in ({"do": "dance"}, {"do": "stop", "worker": "nobody"}, {"do": "drain", "worker": "nobody"}, {}, *odd):
        with pytest.raises(Conflict):
            ask(daemon.run, request)
    silent = [socket.socket(socket.AF_UNIX) for _ in range(50)]
    for client in silent:
        client.connect(str(daemon.run / "orch.sock"))
    assert daemon.wait_state("one", "running")
    for client in silent:
        client.close()


def test_a_taken_port_is_told_with_its_holder(daemon: Any, free_port: int) -> None:
    program = f"import socket, time; s = socket.create_server(('127.0.0.1', {free_port})); print('up', flush=True); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        worker = WorkerSpec("webhook-server", listen=Address("127.0.0.1", free_port))
        with pytest.raises(PreflightFailed, match=rf"port {free_port} for webhook-server is taken by pid {holder.pid} \(.*socket"):
            check_ports([worker])
        roster = daemon.write_roster(web={"command": ("steady",), "listen": {"host": "127.0.0.1", "port": free_port}})
        assert daemon.start_supervisor(roster).wait(timeout=10) == 5
        assert f"pid {holder.pid}" in (daemon.home / "supervisor.err").read_text()
    finally:
        holder.kill()
        holder.communicate()


def test_the_listening_socket_outlives_a_crash_of_its_worker(daemon: Any, free_port: int) -> None:
    daemon.start(web={"command": ("steady",), "listen": {"host": "127.0.0.1", "port": free_port}})
    pid = daemon.wait_state("web", "running")["pid"]
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    with socket.create_connection(("127.0.0.1", free_port), timeout=5):
        pass


def test_folders_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PreflightFailed, match="cannot write to"):
        check_folders([tmp_path / "file" / "logs"])
    check_folders([tmp_path / "new" / "run"])
    assert list((tmp_path / "new" / "run").iterdir()) == []
    assert stat.S_IMODE((tmp_path / "new" / "run").stat().st_mode) == 0o700


def test_a_lock_has_one_holder_and_tells_who(tmp_path: Path) -> None:
    lock = worker_lock(tmp_path, "call-scheduler")
    assert lock.holder() is None
    assert lock.acquire()
    other = FileLock(lock.path)
    assert not other.acquire()
    assert other.holder() == os.getpid()
    lock.release()
    assert other.acquire()
    other.release()


def test_an_idle_supervisor_rests(daemon: Any) -> None:
    daemon.start(one=("calm",), two=("calm",))
    pid = daemon.process.pid
    for name in ("one", "two"):
        daemon.wait_state(name, "running")

    def used() -> float:
        # Nanoseconds on a processor: proc_pid_stat(5) counts in steps that are as long as what is measured.
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9

    before, began = used(), time.monotonic()
    # Not through `wait_for`, which is not what is measured, but would be if it asked for the status.
    daemon.wait_for(lambda: time.monotonic() - began > 3, "three idle seconds")
    assert used() - before < 0.01 * (time.monotonic() - began)


def test_two_hundred_restarts_leave_no_file_open(daemon: Any) -> None:
    # A worker that costs nothing to start: the shell finds the pipe's number among its arguments and says that it is ready.
    script = 'for a in "$@"; do case "$a" in --heartbeat-fd=*) echo "{}" >/proc/self/fd/"${a#*=}";; esac; done; exec sleep 600'
    roster = daemon.home / "shell-roster.json"
    roster.write_text(json.dumps({"workers": [{"name": "one", "command": ["sh", "-c", script, "worker"]}]}))
    daemon.start_supervisor(roster)
    daemon.wait_for(daemon.alive_status, "the control socket")
    descriptors = Path(f"/proc/{daemon.process.pid}/fd")

    def restart(times: int) -> None:
        for _ in range(times):
            before = daemon.wait_state("one", "running")["starts"]
            ask(daemon.run, {"do": "restart", "worker": "one"})
            daemon.wait_for(lambda before=before: daemon.worker("one")["starts"] > before, "a restart")
        daemon.wait_state("one", "running")

    restart(3)
    files = len(list(descriptors.iterdir()))
    restart(200)
    assert daemon.worker("one")["starts"] >= 204
    # A client's connection may be open at the moment of either count.
    daemon.wait_for(lambda: len(list(descriptors.iterdir())) <= files, "no more open files than before", 5)


def test_a_worker_can_be_drained_and_ends_that_with_a_restart(daemon: Any) -> None:
    daemon.start(one=("steady",), two=("steady",))
    pid = daemon.wait_state("one", "running")["pid"]
    daemon.wait_state("two", "running")
    ask(daemon.run, {"do": "drain", "worker": "one"})
    daemon.wait_for(lambda: daemon.worker("one")["draining"], "the worker to say so")
    row = daemon.worker("one")
    assert (row["state"], row["pid"]) == ("draining", pid), "it takes nothing on, and stays"
    assert daemon.worker("two")["state"] == "running"
    os.kill(pid, signal.SIGKILL)
    daemon.wait_for(lambda: (row := daemon.worker("one"))["pid"] not in {pid, None} and row["draining"], "the next one to be told, too")
    ask(daemon.run, {"do": "restart", "worker": "one"})
    daemon.wait_state("one", "running")
    daemon.wait_for(lambda: not daemon.worker("one")["draining"], "an end of it")


def test_a_reload_restarts_one_after_the_other(daemon: Any) -> None:
    daemon.start(one=("steady",), two=("drain", 0.3), three=("steady",))
    before = {name: daemon.wait_state(name, "running")["pid"] for name in ("one", "two", "three")}
    assert ask(daemon.run, {"do": "reload"})["workers"] == ["one", "two", "three"]
    seen = list(launch.follow_reload(daemon.run))
    assert seen[-1]["reload"]["failed"] is None
    for answer in seen:
        assert sum(row["state"] != "running" for row in answer["workers"]) <= 1
    after = {name: daemon.wait_state(name, "running")["pid"] for name in before}
    assert not set(before.values()) & set(after.values())
    began = [line["worker_name"] for line in daemon.events("worker.restart_requested")]
    assert began == ["one", "two", "three"]


def test_output_is_cut_at_the_start_when_there_is_too_much(tmp_path: Path) -> None:
    path = tmp_path / "one.out"
    path.write_bytes(b"x" * 100)
    with open_output(path, 100) as out:
        out.write(b"y")
    assert path.read_bytes() == b"x" * 100 + b"y"
    with open_output(path, 100) as out:
        assert out.tell() == 0
        out.write(b"z")
    assert path.read_bytes() == b"z"
    assert (tmp_path / "one.out.1").read_bytes() == b"x" * 100 + b"y"


def test_the_supervisor_loads_nothing_heavy(daemon: Any) -> None:
    code = "import sys, json, workers.supervisor; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=Path.cwd()).stdout))
    assert not loaded & {"sqlalchemy", "structlog", "pydantic", "asyncio", "fastapi", "typer", "rich", "core.settings"}
    daemon.start(one=("steady",))
    resident = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident < 40 * 1024 * 1024
