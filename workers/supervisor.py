"""The daemon: starts the workers, watches them, restarts them, stops them. Standard library only, so that it stays small.

Signal handlers only note the signal; one loop over a selector acts on signals, heartbeats, exits and requests.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import selectors
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import Conflict, InvalidInput, OrchError
from workers.child import Action, Child, Spawn, State
from workers.control import Answer, ControlServer
from workers.preflight import PreflightFailed, bind
from workers.process import LOCK_NAME, FileLock
from workers.reload import Reload
from workers.roster import SUPERVISOR, WorkerSpec, load_roster
from workers.spawn import Process, json_log

PID_NAME = "orch.pid"
EXIT_FAILED = 1
EXIT_RUNNING = 3
EXIT_DEGRADED = 4
EXIT_PREFLIGHT = 5
# The loop stood still for longer than this: the machine did, and the workers with it.
STALL_SECONDS = 5.0


class Supervisor:
    """Holds the daemon's lock while it lives."""

    def __init__(
        self, home: Path, workers: Sequence[WorkerSpec], log: logging.Logger, log_max_bytes: int, about: Mapping[str, object] | None = None
    ) -> None:
        self._home, self._log, self._log_max_bytes = home, log, log_max_bytes
        # Version and database, for `orch status`: what this daemon runs with, whatever the settings say by now.
        self._about = dict(about or {})
        self._specs = {worker.name: worker for worker in workers}
        dice = random.Random()
        self._children = {worker.name: Child(worker, dice) for worker in workers}
        self._processes: dict[str, Process] = {}
        self._listeners: dict[str, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._noted: list[signal.Signals] = []
        self._started = time.monotonic()
        self._started_at = datetime.now(UTC)
        self._stopping = False
        self._stop_now = False
        self._stop_timeout: float | None = None
        self._reload = Reload(self._children)
        # Both ends are attributes: with the write end collected the loop would spin on an end-of-file.
        self._wake_read, self._wake_write = socket.socketpair()
        self._control: ControlServer | None = None

    def open(self) -> None:
        """Bind every port and the control socket. Raises PreflightFailed."""
        for name in self._specs:
            self._listen(name)
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._drain_wakeups)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _frame: self._noted.append(signal.Signals(n)))
        # A closing terminal stops nothing.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._control = ControlServer(self._home / "run", self._selector, self._handle)

    def run(self) -> int:
        """Until told to stop. Returns the exit code: 4 when a worker had to be killed."""
        now = time.monotonic()
        self._event("supervisor.started", pid=os.getpid(), workers=list(self._specs))
        for name, child in self._children.items():
            self._perform(name, child.start(now))
        while not (self._stopping and all(child.state is State.STOPPED for child in self._children.values())):
            self._round()
        killed = [name for name, child in self._children.items() if child.killed]
        self._event("supervisor.stopped", killed=killed)
        if self._control is not None:
            self._control.answer_waiting({"stopped": True, "killed": killed})
        return EXIT_DEGRADED if killed else 0

    def close(self) -> None:
        if self._control is not None:
            self._control.close()
        for listener in self._listeners.values():
            listener.close()
        signal.set_wakeup_fd(-1)
        self._selector.close()

    def _round(self) -> None:
        before = time.monotonic()
        due = [at for child in self._children.values() if (at := child.due_at()) is not None]
        timeout = max(0.0, min(due) - before) if due else None
        for key, _ in self._selector.select(timeout):
            key.data()
        for number in self._noted[:]:
            self._noted.remove(number)
            self._event("supervisor.signal", signal=number.name)
            self._stop_all(at_once=self._stopping)
        now = time.monotonic()
        stall = now - before - (timeout or 0.0)
        for name, child in self._children.items():
            if timeout is not None and stall > STALL_SECONDS:
                child.forgive(stall)
            self._perform(name, child.tick(now))
        if self._stopping:
            self._stop_those_free_to_stop(now)
        if (due_now := self._reload.next()) is not None:
            self._event("worker.restart_requested", worker_name=due_now, by="reload")
            self._perform(due_now, self._children[due_now].restart(now))
        self._close_idle_ports()

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_read.recv(4096):
                pass

    # Children.

    def _perform(self, name: str, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Spawn):
                self._spawn(name)
                continue
            process = self._processes.get(name)
            if process is not None:
                self._event("worker.signalled", worker_name=name, signal=action.signal.name, pid=process.pid)
                process.send(action.signal)

    def _spawn(self, name: str) -> None:
        child = self._children[name]
        try:
            self._listen(name)
            process = Process(self._specs[name], self._home, self._listeners.get(name), self._log_max_bytes)
        except PreflightFailed as error:
            child.cannot_start(str(error))
            self._event("worker.given_up", level=logging.ERROR, worker_name=name, problem=child.problem)
            return
        except OSError as error:
            self._event("worker.spawn_failed", level=logging.ERROR, worker_name=name, error=str(error))
            self._perform(name, child.spawn_failed(time.monotonic(), str(error)))
            return
        child.spawned(time.monotonic())
        self._processes[name] = process
        self._selector.register(process.pidfd, selectors.EVENT_READ, lambda: self._exited(name))
        self._selector.register(process.pipe, selectors.EVENT_READ, lambda: self._beat(name))
        self._event("worker.started", worker_name=name, pid=process.pid, restarts=child.restarts, output_at=process.output_at)

    def _beat(self, name: str) -> None:
        process, child = self._processes.get(name), self._children[name]
        if process is None:
            return  # its exit was handled in this very round of the selector
        beats, ended = process.read_beats()
        if ended:
            self._selector.unregister(process.pipe)
            process.pipe_open = False
        if beats:
            was_starting = child.state is State.STARTING
            process.last_beat = beats[-1]
            self._perform(name, child.beat(time.monotonic()))
            if was_starting and child.state is State.RUNNING:
                seconds = time.monotonic() - (child.started_at or 0.0)
                self._event("worker.ready", worker_name=name, pid=process.pid, seconds=round(seconds, 3))

    def _exited(self, name: str) -> None:
        process, child = self._processes.pop(name), self._children[name]
        self._selector.unregister(process.pidfd)
        if process.pipe_open:
            self._selector.unregister(process.pipe)
        stopping = child.state is State.STOPPING
        actions = child.exited(time.monotonic(), process.reap())
        said = {} if stopping else {"last_output": process.last_output()}
        level = logging.INFO if stopping else logging.ERROR
        self._event("worker.exited", level=level, worker_name=name, pid=process.pid, exit=str(child.last_exit), next=child.state, **said)
        if child.state is State.FATAL:
            self._event("worker.given_up", level=logging.ERROR, worker_name=name, problem=child.problem)
        self._perform(name, actions)

    # Ports.

    def _listen(self, name: str) -> None:
        listen = self._specs[name].listen
        if listen is not None and name not in self._listeners:
            self._listeners[name] = bind(name, listen)

    def _close_idle_ports(self) -> None:
        """A port that nobody serves is closed: callers are refused at once, and turn elsewhere, instead of waiting in its queue.

        Not between a crash and the restart that follows: those callers are served a moment later.
        """
        for name in [name for name in self._listeners if self._children[name].down]:
            self._listeners.pop(name).close()
            self._event("worker.port_closed", worker_name=name, listen=str(self._specs[name].listen))

    # Stopping.

    def _stop_all(self, *, at_once: bool = False, timeout: float | None = None) -> None:
        self._stopping = True
        self._reload.cancel()
        self._stop_now = self._stop_now or at_once
        self._stop_timeout = timeout
        now = time.monotonic()
        if self._stop_now:
            for name, child in self._children.items():
                self._perform(name, child.stop(now, at_once=True))
        self._stop_those_free_to_stop(now)

    def _stop_those_free_to_stop(self, now: float) -> None:
        for name, child in self._children.items():
            users = [self._children[user] for user in self._specs[name].stops_after if user in self._children]
            if child.state not in {State.STOPPED, State.STOPPING} and not any(user.alive for user in users):
                self._perform(name, child.stop(now, timeout=self._stop_timeout))

    # Requests.

    def _handle(self, request: Mapping[str, Any]) -> Answer | None:
        do, now = request.get("do"), time.monotonic()
        if do == "status":
            return self._status(now)
        if do == "stop-all":
            timeout = request.get("timeout")
            self._event("supervisor.stop_requested", now=bool(request.get("now")), timeout=timeout)
            self._stop_all(at_once=bool(request.get("now")), timeout=float(timeout) if timeout is not None else None)
            return {"ok": True}
        if do == "await-end":
            return None
        if do == "reload":
            if self._stopping:
                raise Conflict("orch is stopping")
            self._event("supervisor.reload_requested")
            return {"ok": True, "workers": self._reload.begin()}
        if do in {"start", "stop", "restart", "drain"}:
            name = str(request.get("worker"))
            child = self._children.get(name)
            if child is None:
                return {"error": f"no worker {name!r} runs here; workers: {', '.join(self._children)}"}
            if self._stopping:
                return {"error": "orch is stopping"}
            self._event(f"worker.{do}_requested", worker_name=name)
            at_once = bool(request.get("now"))
            actions = {
                "start": lambda: child.start(now),
                "stop": lambda: child.stop(now, at_once=at_once),
                "restart": lambda: child.restart(now, at_once=at_once),
                "drain": child.drain,
            }
            self._perform(name, actions[str(do)]())
            return {"ok": True, "state": child.state, "starts": child.starts}
        return {"error": f"unknown request {do!r}"}

    def _status(self, now: float) -> Answer:
        return {
            "running": True,
            "supervisor": {
                "pid": os.getpid(),
                "state": "stopping" if self._stopping else "running",
                "started_at": self._started_at.isoformat(timespec="seconds"),
                "uptime_seconds": round(now - self._started, 1),
                "home": str(self._home),
                "version": self._about.get("version"),
                "database": self._about.get("database"),
            },
            "reload": self._reload.status(),
            "workers": [self._row(name, child, now) for name, child in self._children.items()],
        }

    def _row(self, name: str, child: Child, now: float) -> Answer:
        process, spec = self._processes.get(name), self._specs[name]
        beat = process.last_beat if process else {}

        def since(then: float | None) -> float | None:
            return None if then is None else round(now - then, 1)

        def until(then: float | None) -> float | None:
            return None if then is None else round(max(0.0, then - now), 1)

        return {
            "name": name,
            "state": _shown_state(child),
            "starts": child.starts,
            "pid": process.pid if process else None,
            "uptime_seconds": since(child.started_at) if process else None,
            "beat_age_seconds": since(child.last_beat),
            "restarts": child.restarts,
            "memory_bytes": process.memory_bytes() if process else None,
            "cpu_seconds": process.cpu_seconds() if process else None,
            "listen": str(spec.listen) if spec.listen else None,
            "draining": beat.get("state") == "draining",
            "in_flight": beat.get("in_flight"),
            "jobs": beat.get("jobs") or {},
            "extra": beat.get("extra") or {},
            "last_exit": str(child.last_exit) if child.last_exit else None,
            "killed": child.killed,
            "problem": child.problem or None,
            "retry_in_seconds": until(child.retry_at),
            "stop_in_seconds": until(child.stop_deadline),
        }

    def _event(self, event: str, *, level: int = logging.INFO, **keys: object) -> None:
        self._log.log(level, event, extra={"keys": keys})


def _shown_state(child: Child) -> str:
    if child.hung:
        return "hung"
    # It is up, but not to be counted on: who looks for a running worker must not find one that takes nothing on.
    return "draining" if child.held and child.state is State.RUNNING else str(child.state)


def _report(ready_fd: int | None, message: Mapping[str, object]) -> None:
    """Tell whoever started us how it went; they may be gone."""
    if ready_fd is not None:
        with contextlib.suppress(OSError):
            os.write(ready_fd, json.dumps(message).encode() + b"\n")
            os.close(ready_fd)
    elif "error" in message:
        sys.stderr.write(f"orch: {message['error']}\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m workers.supervisor", description="The daemon; usually started by `orch start-all`.")
    parser.add_argument("--home", type=Path, required=True, help="folder that holds run/ and logs/")
    parser.add_argument("--roster", type=Path, required=True, help="JSON file with the workers to run")
    parser.add_argument("--ready-fd", type=int, help="pipe on which to say that the daemon is up")
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--log-max-mb", type=int, default=20)
    parser.add_argument("--about", type=json.loads, default={}, metavar="JSON", help="what the status says of this daemon")
    options = parser.parse_args(argv)
    home: Path = options.home.resolve()
    max_bytes = options.log_max_mb * 1024 * 1024
    os.umask(0o077)
    # The workers find their settings by it, also when it was given relative to another folder.
    os.putenv("ORCH_HOME", str(home))

    lock = FileLock(home / "run" / LOCK_NAME)
    try:
        workers = load_roster(options.roster)
        (home / "run").mkdir(parents=True, exist_ok=True)
        (home / "logs").mkdir(parents=True, exist_ok=True)
        if not lock.acquire():
            _report(options.ready_fd, {"error": f"orch is already running as pid {lock.holder() or 'unknown'}", "code": EXIT_RUNNING})
            return EXIT_RUNNING
        log = json_log(SUPERVISOR, home / "logs", options.log_level, max_bytes)
        supervisor = Supervisor(home, workers, log, max_bytes, options.about)
        supervisor.open()
    except (PreflightFailed, InvalidInput) as error:
        _report(options.ready_fd, {"error": str(error), "code": EXIT_PREFLIGHT})
        return EXIT_PREFLIGHT
    except (OSError, ValueError, KeyError, TypeError, OrchError) as error:
        _report(options.ready_fd, {"error": f"the supervisor cannot start: {error}", "code": EXIT_FAILED})
        return EXIT_FAILED
    pid_file = home / "run" / PID_NAME
    # For people and their scripts; nothing here reads it.
    with contextlib.suppress(OSError):
        pid_file.write_text(f"{os.getpid()}\n", encoding="ascii")
    _report(options.ready_fd, {"up": True, "pid": os.getpid()})
    try:
        return supervisor.run()
    finally:
        supervisor.close()
        with contextlib.suppress(OSError):
            pid_file.unlink(missing_ok=True)
        lock.release()


if __name__ == "__main__":
    sys.exit(main())
