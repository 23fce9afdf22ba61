"""What every worker shares: settings, logs, signals, the lock, heartbeats, jobs, and an orderly end.

A worker is a `start(runtime)` that sets it up and returns. Ready is reported then; SIGTERM ends it: `draining` is set,
what is in flight may finish, then the callbacks of `on_stop` run. A second signal, or SIGQUIT, skips the waiting. SIGUSR1 sets
`draining` and nothing else: the worker takes no new work, and waits for its SIGTERM.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from core import logs
from core.clock import Clock, SystemClock
from core.errors import Conflict, OrchError, SettingsError
from core.settings import Settings, load_settings
from workers.child import EXIT_CONFIG, EXIT_LOCKED, HOLD
from workers.jobs import JobReport, JobSpec
from workers.preflight import bind
from workers.process import Arguments, HeartbeatPipe, die_with, forbid_core_dumps, settle_memory, take_worker_lock
from workers.roster import Address

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

    from core.storage.database import Database
    from workers.schedule import Schedule

__all__ = ["JobReport", "JobSpec", "Runtime", "run_worker"]

BEAT_SECONDS = 1.0
# Left of the drain for `on_stop`, before the supervisor's patience ends.
CLOSING_SECONDS = 3.0
_DRAIN_POLL_SECONDS = 0.05


class Runtime:
    """Handed to a worker's `start`. Use it from the event loop, except where it says otherwise."""

    def __init__(self, name: str, settings: Settings, clock: Clock, arguments: Arguments) -> None:
        self.name, self.settings, self.clock = name, settings, clock
        self.log: BoundLogger = logs.get_logger()
        # Work that may finish after SIGTERM. Called each second, and more often while draining: it must be quick.
        self.in_flight: Callable[[], int] = lambda: 0
        # Shown by `orch status`. "work" is the text of its WORK column, "paused" a reason why nobody is dialled,
        # "problems" a list of sentences; other keys are only in its JSON.
        self.status_extra: Callable[[], Mapping[str, object]] = dict
        self.draining = asyncio.Event()
        self._arguments = arguments
        self._callbacks: list[Callable[[], Awaitable[None]]] = []
        self._ending = asyncio.Event()
        self._now = asyncio.Event()
        self._schedule: Schedule | None = None
        self._pipe = HeartbeatPipe(arguments.heartbeat_fd) if arguments.heartbeat_fd is not None else None
        self._failing_extra = False

    @cached_property
    def db(self) -> Database:
        """Opened when first asked for, so that workers without a database do not load SQLAlchemy."""
        from core.bootstrap import open_database

        return open_database(self.settings)

    def add_job(self, spec: JobSpec) -> None:
        """Only in `start`."""
        if self._schedule is None:
            # A server without jobs needs neither APScheduler nor SQLAlchemy for them.
            from workers.schedule import Schedule

            self._schedule = Schedule(self.name, self.db, self.clock, self.log)
        self._schedule.add(spec)

    def on_stop(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Called when nothing is in flight any more, the last added first."""
        self._callbacks.append(callback)

    def listen_socket(self, default_host: str, default_port: int) -> socket.socket:
        """The listening socket: the supervisor's, or one bound here when the worker was started by hand."""
        if self._arguments.listen_fd is not None:
            listening = socket.socket(fileno=self._arguments.listen_fd)
            listening.set_inheritable(False)
        else:
            listening = bind(self.name, Address(default_host, default_port))
        listening.setblocking(False)
        return listening

    async def live(self, start: Callable[[Runtime], Awaitable[None]]) -> None:
        """The whole life, from `start` to the last callback of `on_stop`. Called by `run_worker`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, number)
        loop.add_signal_handler(signal.SIGQUIT, self._asked_to_stop_now)
        loop.add_signal_handler(HOLD, self._asked_to_hold)
        await start(self)
        settle_memory()
        if self._schedule is not None:
            self._schedule.start()
        beating = asyncio.create_task(self._beat())
        self.log.info("worker.ready", pid=os.getpid())
        # The heartbeat never ends by itself; if it does, by an error, the worker must not live on unseen.
        waiting = asyncio.create_task(self._ending.wait())
        await asyncio.wait({beating, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if beating.done():
            beating.result()
        await self._drain()
        await self._close()
        beating.cancel()

    def _asked_to_stop(self, number: int) -> None:
        self.log.info("worker.signal", signal=signal.Signals(number).name)
        if self._ending.is_set():
            self._now.set()
        self.draining.set()
        self._ending.set()

    def _asked_to_stop_now(self) -> None:
        self.log.info("worker.signal", signal="SIGQUIT")
        self._now.set()
        self.draining.set()
        self._ending.set()

    def _asked_to_hold(self) -> None:
        if self.draining.is_set():
            return
        self.draining.set()
        if self._schedule is not None:
            self._schedule.stop()
        # Some workers learn of it by being asked what they have in flight.
        self.log.info("worker.held", in_flight=self.in_flight())

    async def _beat(self) -> None:
        while self._pipe is not None:
            self._pipe.send(self._status())
            await asyncio.sleep(BEAT_SECONDS)
        await asyncio.Event().wait()

    def _status(self) -> dict[str, object]:
        extra: Mapping[str, object] = {}
        in_flight = 0
        try:
            in_flight, extra = self.in_flight(), self.status_extra()
            self._failing_extra = False
        except Exception:
            # What is shown to people must not end the worker, nor fill its log each second.
            if not self._failing_extra:
                self.log.exception("worker.status_failed")
            self._failing_extra = True
        return {
            "state": "draining" if self.draining.is_set() else "ready",
            "in_flight": in_flight,
            "jobs": self._schedule.live() if self._schedule is not None else {},
            "extra": dict(extra),
        }

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        if self._schedule is not None:
            self._schedule.stop()
        allowed = max(0.0, self._arguments.drain_seconds - CLOSING_SECONDS)
        deadline = loop.time() + allowed
        self.log.info("worker.draining", in_flight=self.in_flight(), seconds=allowed)
        while (busy := self._busy()) and loop.time() < deadline and not self._now.is_set():
            await asyncio.sleep(_DRAIN_POLL_SECONDS)
        if busy:
            self.log.warning("worker.drain_cut", in_flight=self.in_flight(), now=self._now.is_set())

    def _busy(self) -> int:
        return self.in_flight() + (self._schedule.running if self._schedule is not None else 0)

    async def _close(self) -> None:
        for callback in reversed(self._callbacks):
            try:
                await asyncio.wait_for(callback(), CLOSING_SECONDS)
            except Exception:
                # Each part gets its chance to close, whatever happened to the one before.
                self.log.exception("worker.close_failed")
        if self._schedule is not None:
            await self._schedule.close()
        if "db" in self.__dict__:
            self.db.close()
        self.log.info("worker.stopped")


def run_worker(name: str, start: Callable[[Runtime], Awaitable[None]], *, listen: bool = False, argv: list[str] | None = None) -> int:
    """The whole life of a worker. Returns the exit code: 78 when a setting is wrong, 75 when a copy of it runs.

    `listen`: the worker serves sockets, so its event loop is uvloop's.
    """
    faulthandler.enable()
    arguments = Arguments.parse(sys.argv[1:] if argv is None else argv)
    if arguments.parent_pid is not None and not die_with(arguments.parent_pid):
        return 0
    forbid_core_dumps()
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        settings = load_settings()
        paths = settings.paths
        for folder in (paths.run, paths.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = take_worker_lock(paths.run, name)
        logs.configure(name, paths.logs, settings.engine.log_level, settings.engine.log_max_mb)
    except SettingsError as error:
        return _refuse(error, EXIT_CONFIG)
    except Conflict as error:
        return _refuse(error, EXIT_LOCKED)
    except OSError as error:
        return _refuse(error, 1)
    log = logs.get_logger()
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if listen:
        import uvloop

        loop_factory = uvloop.new_event_loop

    async def live() -> None:
        await Runtime(name, settings, SystemClock(), arguments).live(start)

    code = 0
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(live())
    except OrchError as error:
        # An answer, not a bug: its text says what to do, and a traceback would hide it.
        log.error("worker.failed", error=str(error))  # noqa: TRY400
        code = _refuse(error, EXIT_CONFIG if isinstance(error, SettingsError) else 1)
    except Exception:
        log.exception("worker.failed")
        raise
    finally:
        lock.release()
    sys.stdout.flush()
    sys.stderr.flush()
    # A job or a decoder that is stuck in its thread would hold the interpreter's own end for ever.
    os._exit(code)


def _refuse(error: Exception, code: int) -> int:
    sys.stderr.write(f"orch: {error}\n")
    return code
