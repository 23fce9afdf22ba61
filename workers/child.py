"""One child's state machine. It owns no process and asks no clock: `now` (monotonic seconds) goes in, actions come out.

stopped -> backoff -> starting -> running -> stopping -> stopped
              ^___________|__________|                     a crash waits, then starts again
                                     '-> fatal             too many crashes, or a setting is wrong
"""

from __future__ import annotations

import random
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from core.errors import Conflict
from workers.roster import WorkerSpec

# Seconds before the 1st, 2nd, ... restart in a row; the last one repeats.
BACKOFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
BACKOFF_JITTER = 0.2
# Ready for this long: the next crash counts as the first again.
HEALTHY_SECONDS = 60.0
# More crashes than this within the span: restarting does not help.
CRASH_LIMIT = 5
CRASH_SPAN_SECONDS = 300.0
# From SIGABRT, which dumps the stacks into the log, to SIGKILL.
ABORT_GRACE_SECONDS = 2.0
# `stop now`: long enough to close files, too short to finish a call.
STOP_NOW_SECONDS = 3.0
# To a worker: take no new work, but stay. SIGTERM asks for both.
HOLD = signal.SIGUSR1
# Between two looks whether another copy has ended.
LOCKED_RETRY_SECONDS = 2.0
# EX_TEMPFAIL of sysexits.h: another copy of this worker holds its lock.
EXIT_LOCKED = 75
# EX_CONFIG of sysexits.h: the settings are wrong, and starting again will not mend them.
EXIT_CONFIG = 78


class State(StrEnum):
    STOPPED = "stopped"
    BACKOFF = "backoff"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FATAL = "fatal"


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the process, then report `spawned` or `spawn_failed`."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this signal to the process."""

    signal: signal.Signals


Action = Spawn | Send


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: an exit code, or the signal that killed it. `why` is what the supervisor knows about it."""

    code: int | None
    signal: int | None
    why: str = ""

    @classmethod
    def of(cls, returncode: int, why: str = "") -> Exit:
        return cls(None, -returncode, why) if returncode < 0 else cls(returncode, None, why)

    def __str__(self) -> str:
        if self.signal is not None:
            try:
                text = signal.Signals(self.signal).name
            except ValueError:
                text = f"signal {self.signal}"
        else:
            text = f"exit {self.code}" if self.code is not None else "did not start"
        return f"{text} ({self.why})" if self.why else text


def backoff_seconds(crashes_in_a_row: int, dice: random.Random) -> float:
    """Wait before the restart after the n-th crash in a row (n from 1), with jitter so that workers do not march in step."""
    base = BACKOFF_SECONDS[min(crashes_in_a_row, len(BACKOFF_SECONDS)) - 1]
    return base * (1 + dice.uniform(-BACKOFF_JITTER, BACKOFF_JITTER))


@dataclass(slots=True)
class Child:
    spec: WorkerSpec
    dice: random.Random
    state: State = State.STOPPED
    started_at: float | None = None
    ready_at: float | None = None
    last_beat: float | None = None
    restarts: int = 0
    last_exit: Exit | None = None
    problem: str = ""
    retry_at: float | None = None
    stop_deadline: float | None = None
    # It had to be killed because it did not end in time.
    killed: bool = False
    # It was told to take no new work, and is told so again whenever it comes back.
    held: bool = False
    _spawns: int = 0
    _in_a_row: int = 0
    _crashes: deque[float] = field(default_factory=deque)
    _kill_at: float | None = None
    _why: str = ""
    _start_again: bool = False

    @property
    def alive(self) -> bool:
        return self.state in {State.STARTING, State.RUNNING, State.STOPPING}

    @property
    def starts(self) -> int:
        """How often it was started."""
        return self._spawns

    @property
    def down(self) -> bool:
        """It will not come back unless somebody asks for it."""
        return self.state in {State.STOPPED, State.FATAL}

    @property
    def hung(self) -> bool:
        return self._kill_at is not None

    # What people ask for.

    def start(self, now: float) -> Sequence[Action]:
        """Start it, or start it again after it was given up. Nothing happens if it is up."""
        if self.state is State.STOPPING:
            self._start_again = True
            return ()
        if self.alive:
            return ()
        self._crashes.clear()
        self._in_a_row = 0
        self.problem = ""
        self.held = False
        self.state, self.retry_at = State.BACKOFF, now
        return self.tick(now)

    def drain(self) -> Sequence[Action]:
        """No new work from now on; it stays up until it is stopped or restarted. Raises Conflict when it is not running."""
        if self.state is not State.RUNNING:
            raise Conflict(f"{self.spec.name} is {self.state}; only a running worker can be drained")
        self.held = True
        return (Send(HOLD),)

    def stop(self, now: float, *, at_once: bool = False, timeout: float | None = None) -> Sequence[Action]:
        """Ask it to end: what is in flight may finish before the deadline, unless `at_once`."""
        self._start_again = False
        self.held = False
        if not self.alive:
            self.state, self.retry_at, self.problem = State.STOPPED, None, ""
            return ()
        allowed = STOP_NOW_SECONDS if at_once else self.spec.drain_seconds
        deadline = now + (min(allowed, timeout) if timeout is not None else allowed)
        if self.state is State.STOPPING:
            assert self.stop_deadline is not None
            if not at_once:
                return ()
            self.stop_deadline = min(self.stop_deadline, deadline)
            return (Send(signal.SIGQUIT),)
        self.state, self.stop_deadline = State.STOPPING, deadline
        return (Send(signal.SIGQUIT if at_once else signal.SIGTERM),)

    def restart(self, now: float, *, at_once: bool = False) -> Sequence[Action]:
        """End it, with its drain unless `at_once`, then start it."""
        if not self.alive:
            return self.start(now)
        actions = self.stop(now, at_once=at_once)
        self._start_again = True
        return actions

    # What the process does.

    def spawned(self, now: float) -> None:
        self.started_at, self.ready_at, self.last_beat = now, None, None
        self.killed = False
        self.restarts = self._spawns
        self._spawns += 1

    def spawn_failed(self, now: float, why: str) -> Sequence[Action]:
        self.started_at = None
        return self._gone(now, Exit(None, None, why))

    def cannot_start(self, why: str) -> Sequence[Action]:
        """What it needs is not there, and trying again will not bring it."""
        self.started_at = None
        return self._give_up(why)

    def beat(self, now: float) -> Sequence[Action]:
        """A heartbeat arrived; the first one says that the worker is ready."""
        self.last_beat = now
        if self.state is State.STARTING:
            self.state, self.ready_at, self.problem = State.RUNNING, now, ""
            if self.held:
                return (Send(HOLD),)
        return ()

    def exited(self, now: float, end: Exit) -> Sequence[Action]:
        if self._why and not end.why:
            end = Exit(end.code, end.signal, self._why)
        return self._gone(now, end)

    # What time does.

    def tick(self, now: float) -> Sequence[Action]:
        """What is due now."""
        if self.state is State.BACKOFF and self.retry_at is not None and now >= self.retry_at:
            self.state, self.retry_at = State.STARTING, None
            self.started_at = now
            return (Spawn(),)
        if not self.alive or self.killed:
            return ()
        if self._kill_at is not None:
            return self._kill(self._why) if now >= self._kill_at else ()
        if self.state is State.STOPPING and self.stop_deadline is not None and now >= self.stop_deadline:
            return self._kill("did not end in time")
        late = self._late_at()
        if late is not None and now >= late:
            limit = self.spec.start_seconds if self.last_beat is None else self.spec.beat_late_seconds
            self._why = f"not ready after {limit:g} s" if self.last_beat is None else f"no heartbeat for {limit:g} s"
            self._kill_at = now + ABORT_GRACE_SECONDS
            return (Send(signal.SIGABRT),)
        return ()

    def due_at(self) -> float | None:
        """When `tick` has something to do next; None if only events can change anything."""
        if self.state is State.BACKOFF:
            return self.retry_at
        if not self.alive or self.killed:
            return None
        if self._kill_at is not None:
            return self._kill_at
        times = [t for t in (self._late_at(), self.stop_deadline if self.state is State.STOPPING else None) if t is not None]
        return min(times, default=None)

    def forgive(self, stall: float) -> None:
        """The supervisor itself stood still for `stall` seconds: the silence of that time proves nothing."""
        if self.last_beat is not None:
            self.last_beat += stall
        elif self.started_at is not None and self.state is State.STARTING:
            self.started_at += stall

    def _late_at(self) -> float | None:
        if self.last_beat is not None:
            return self.last_beat + self.spec.beat_late_seconds
        if self.state is State.STARTING and self.started_at is not None:
            return self.started_at + self.spec.start_seconds
        return None

    def _kill(self, why: str) -> Sequence[Action]:
        self.killed, self._why = True, why
        return (Send(signal.SIGKILL),)

    def _gone(self, now: float, end: Exit) -> Sequence[Action]:
        was_stopping = self.state is State.STOPPING
        healthy = self.ready_at is not None and now - self.ready_at >= HEALTHY_SECONDS
        self.last_exit = end
        self.started_at = self.ready_at = self.last_beat = self.stop_deadline = self._kill_at = None
        self._why = ""
        if was_stopping:
            # Whatever the exit was, it was asked for: uvicorn, for one, ends by raising SIGTERM again.
            self.state = State.STOPPED
            if self._start_again:
                self._start_again = False
                return self.start(now)
            return ()
        if end.code == EXIT_CONFIG:
            return self._give_up("a setting is wrong")
        if end.code == EXIT_LOCKED:
            # An orphan of a killed supervisor finishes its calls, which may take a while; that is no fault of this one.
            self.problem = "another copy of it is still running"
            self.state, self.retry_at = State.BACKOFF, now + LOCKED_RETRY_SECONDS
            return ()
        if healthy:
            self._crashes.clear()
            self._in_a_row = 0
        self._in_a_row += 1
        self._crashes.append(now)
        while self._crashes[0] < now - CRASH_SPAN_SECONDS:
            self._crashes.popleft()
        if len(self._crashes) > CRASH_LIMIT:
            return self._give_up(f"{len(self._crashes)} crashes in {max(1, round(now - self._crashes[0]))} s, the last: {end}")
        self.problem = f"crashed: {end}"
        self.state = State.BACKOFF
        self.retry_at = now + backoff_seconds(self._in_a_row, self.dice)
        return self.tick(now)

    def _give_up(self, why: str) -> Sequence[Action]:
        self.state, self.retry_at, self.problem = State.FATAL, None, why
        return ()
