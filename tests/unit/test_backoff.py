from __future__ import annotations

import random
import signal
from collections.abc import Sequence

import pytest

from core.errors import Conflict
from workers.child import (
    ABORT_GRACE_SECONDS,
    BACKOFF_JITTER,
    CRASH_LIMIT,
    CRASH_SPAN_SECONDS,
    EXIT_CONFIG,
    EXIT_LOCKED,
    HEALTHY_SECONDS,
    HOLD,
    LOCKED_RETRY_SECONDS,
    STOP_NOW_SECONDS,
    Action,
    Child,
    Exit,
    Send,
    Spawn,
    State,
    backoff_seconds,
)
from workers.roster import WorkerSpec

SPEC = WorkerSpec("dummy", "nowhere", drain_seconds=10, start_seconds=30, beat_late_seconds=15)
CRASH = Exit.of(1)


def child(spec: WorkerSpec = SPEC) -> Child:
    return Child(spec, random.Random(1))


def running(now: float = 0.0) -> Child:
    it = child()
    assert it.start(now) == (Spawn(),)
    it.spawned(now)
    it.beat(now)
    assert it.state is State.RUNNING
    return it


def come_back(it: Child, now: float) -> float:
    """Let its back-off pass and start it; returns the time of the start."""
    if it.state is State.BACKOFF:
        due = it.due_at()
        assert due is not None
        now = max(now, due)
        assert it.tick(now) == (Spawn(),)
    it.spawned(now)
    return now


@pytest.mark.parametrize(
    ("crashes", "base"), [(1, 0.0), (2, 0.5), (3, 1.0), (4, 2.0), (5, 4.0), (6, 8.0), (7, 16.0), (8, 30.0), (9, 30.0), (500, 30.0)]
)
def test_the_wait_grows_to_its_limit_and_varies_by_a_fifth(crashes: int, base: float) -> None:
    dice = random.Random(7)
    waits = [backoff_seconds(crashes, dice) for _ in range(500)]
    assert all(base * (1 - BACKOFF_JITTER) <= wait <= base * (1 + BACKOFF_JITTER) for wait in waits)
    if base:
        assert max(waits) > base * 1.15
        assert min(waits) < base * 0.85


def test_ready_at_the_first_heartbeat() -> None:
    it = child()
    assert it.start(0.0) == (Spawn(),)
    it.spawned(0.0)
    assert it.state is State.STARTING
    it.beat(2.0)
    assert it.state is State.RUNNING
    assert it.ready_at == 2.0


def test_the_first_crash_restarts_at_once_and_the_second_waits() -> None:
    it = running()
    assert it.exited(1.0, CRASH) == (Spawn(),)
    it.spawned(1.0)
    assert it.restarts == 1
    it.beat(1.0)
    assert it.exited(2.0, CRASH) == ()
    assert it.state is State.BACKOFF
    due = it.due_at()
    assert due is not None
    assert 2.4 <= due <= 2.6
    assert it.tick(due - 0.01) == ()
    assert it.tick(due) == (Spawn(),)


def test_a_worker_that_keeps_crashing_is_given_up() -> None:
    it, now = running(), 0.0
    for _ in range(CRASH_LIMIT):
        it.exited(now + 2, CRASH)
        now = come_back(it, now + 2)
        it.beat(now)
    assert it.exited(now + 2, CRASH) == ()
    assert it.state is State.FATAL
    assert "6 crashes" in it.problem
    assert "exit 1" in it.problem
    assert it.due_at() is None


def test_crashes_far_apart_are_forgotten() -> None:
    it, now = running(), 0.0
    for _ in range(20):
        now += CRASH_SPAN_SECONDS / CRASH_LIMIT + 1
        # Beats go on, but it never counts as healthy: only the span decides.
        it.exited(now, CRASH)
        now = come_back(it, now)
        it.beat(now)
        it.ready_at = now + 1e9
    assert it.state is State.RUNNING


def test_health_resets_the_back_off() -> None:
    it, now = running(), 0.0
    for _ in range(4):
        it.exited(now, CRASH)
        now = come_back(it, now)
        it.beat(now)
    assert it.exited(now + HEALTHY_SECONDS, CRASH) == (Spawn(),)


def test_a_wrong_setting_is_not_tried_again() -> None:
    it = child()
    it.start(0.0)
    it.spawned(0.0)
    assert it.exited(0.5, Exit.of(EXIT_CONFIG)) == ()
    assert it.state is State.FATAL


def test_start_clears_a_worker_that_was_given_up() -> None:
    it = child()
    it.start(0.0)
    it.spawned(0.0)
    it.exited(0.5, Exit.of(EXIT_CONFIG))
    assert it.start(1.0) == (Spawn(),)
    assert it.state is State.STARTING
    assert it.problem == ""


def test_an_end_nobody_asked_for_is_a_crash_even_with_exit_0() -> None:
    it = running()
    assert it.exited(1.0, Exit.of(0)) == (Spawn(),)


@pytest.mark.parametrize("beating", [True, False])
def test_a_hung_worker_dumps_its_stack_and_is_killed(beating: bool) -> None:
    it = child()
    it.start(0.0)
    it.spawned(0.0)
    if beating:
        it.beat(0.0)
    late = SPEC.beat_late_seconds if beating else SPEC.start_seconds
    assert it.due_at() == late
    assert it.tick(late - 0.1) == ()
    assert it.tick(late) == (Send(signal.SIGABRT),)
    assert it.hung
    assert it.tick(late + ABORT_GRACE_SECONDS - 0.1) == ()
    assert it.tick(late + ABORT_GRACE_SECONDS) == (Send(signal.SIGKILL),)
    assert it.tick(late + ABORT_GRACE_SECONDS + 1) == ()
    assert it.exited(late + 3, Exit.of(-9)) == (Spawn(),)
    assert ("no heartbeat for 15 s" if beating else "not ready after 30 s") in str(it.last_exit)


def test_beats_keep_it_alive() -> None:
    it = running()
    for second in range(1, 100):
        it.beat(float(second))
        assert it.tick(float(second)) == ()


def test_silence_while_the_supervisor_stood_still_proves_nothing() -> None:
    it = running()
    it.forgive(100.0)
    assert it.tick(100.0) == ()
    assert it.tick(100.0 + SPEC.beat_late_seconds) == (Send(signal.SIGABRT),)


def test_stopping_gives_the_drain_its_time_and_then_kills() -> None:
    it = running()
    assert it.stop(5.0) == (Send(signal.SIGTERM),)
    assert it.state is State.STOPPING
    it.beat(14.0)
    assert it.tick(14.9) == ()
    assert it.tick(15.0) == (Send(signal.SIGKILL),)
    assert it.exited(15.1, Exit.of(-9)) == ()
    assert it.state is State.STOPPED
    assert it.killed


@pytest.mark.parametrize("code", [0, 1, -15, -6, EXIT_CONFIG])
def test_whatever_the_exit_a_stopping_worker_is_stopped(code: int) -> None:
    it = running()
    it.stop(5.0)
    assert it.exited(6.0, Exit.of(code)) == ()
    assert it.state is State.STOPPED
    assert not it.killed


def test_a_shorter_time_may_be_asked_for_but_not_a_longer_one() -> None:
    it = running()
    it.stop(0.0, timeout=2.0)
    assert it.stop_deadline == 2.0
    other = running()
    other.stop(0.0, timeout=1000.0)
    assert other.stop_deadline == SPEC.drain_seconds


def test_the_second_request_skips_the_drain() -> None:
    it = running()
    it.stop(0.0)
    assert it.stop(1.0) == ()
    assert it.stop(2.0, at_once=True) == (Send(signal.SIGQUIT),)
    assert it.stop_deadline == 2.0 + STOP_NOW_SECONDS


def test_a_worker_that_hangs_while_it_drains_is_not_waited_for() -> None:
    it = child(WorkerSpec("dummy", "nowhere", drain_seconds=900))
    it.start(0.0)
    it.spawned(0.0)
    it.beat(0.0)
    it.stop(1.0)
    assert it.tick(15.0) == (Send(signal.SIGABRT),)


@pytest.mark.parametrize("crashed", [True, False])
def test_stopping_what_is_not_up_needs_no_signal(crashed: bool) -> None:
    it = child()
    if crashed:
        it = running()
        it.exited(0.0, CRASH)
        it.spawned(0.0)
        it.exited(0.1, CRASH)
        assert it.state is State.BACKOFF
    assert it.stop(1.0) == ()
    assert it.state is State.STOPPED
    assert it.due_at() is None


def test_restart_drains_and_starts() -> None:
    it = running()
    assert it.restart(1.0) == (Send(signal.SIGTERM),)
    assert it.exited(2.0, Exit.of(0)) == (Spawn(),)
    assert it.state is State.STARTING


def test_stop_after_restart_means_stop() -> None:
    it = running()
    it.restart(1.0)
    it.stop(1.5)
    assert it.exited(2.0, Exit.of(0)) == ()
    assert it.state is State.STOPPED


def test_start_while_stopping_starts_afterwards() -> None:
    it = running()
    it.stop(1.0)
    assert it.start(1.5) == ()
    assert it.exited(2.0, Exit.of(0)) == (Spawn(),)


def test_a_program_that_cannot_be_started_is_tried_again_and_given_up() -> None:
    it = child()
    actions: Sequence[Action] = it.start(0.0)
    now, tries = 0.0, 0
    while it.state is not State.FATAL:
        if actions != (Spawn(),):
            due = it.due_at()
            assert due is not None
            now = due
            actions = it.tick(now)
            continue
        tries += 1
        actions = it.spawn_failed(now, "No such file")
    assert tries == CRASH_LIMIT + 1
    assert "No such file" in it.problem


@pytest.mark.parametrize(
    ("returncode", "why", "text"),
    [(0, "", "exit 0"), (78, "", "exit 78"), (-9, "", "SIGKILL"), (-6, "no heartbeat", "SIGABRT (no heartbeat)"), (-64, "", "SIGRTMAX")],
)
def test_an_exit_reads_well(returncode: int, why: str, text: str) -> None:
    assert str(Exit.of(returncode, why)) == text


def test_another_copy_is_waited_for_and_counts_as_no_crash() -> None:
    it, now = child(), 0.0
    it.start(now)
    for _ in range(CRASH_LIMIT * 3):
        it.spawned(now)
        assert it.exited(now + 0.5, Exit.of(EXIT_LOCKED)) == ()
        assert it.state is State.BACKOFF
        assert "another copy" in it.problem
        due = it.due_at()
        assert due == now + 0.5 + LOCKED_RETRY_SECONDS
        now = due
        assert it.tick(now) == (Spawn(),)
    it.spawned(now)
    it.beat(now)
    assert (it.state, it.problem) == (State.RUNNING, "")


def test_a_drained_worker_is_told_again_when_it_comes_back_after_a_crash() -> None:
    it = running()
    assert it.drain() == (Send(HOLD),)
    it.exited(1.0, CRASH)
    it.spawned(1.0)
    assert it.beat(1.5) == (Send(HOLD),)
    assert it.beat(2.5) == ()


@pytest.mark.parametrize("do", ["start", "restart"])
def test_a_drain_ends_with_the_next_start_that_is_asked_for(do: str) -> None:
    it = running()
    it.drain()
    if do == "restart":
        it.restart(1.0)
        it.exited(2.0, Exit.of(0))
    else:
        it.stop(1.0)
        it.exited(2.0, Exit.of(0))
        it.start(2.5)
    it.spawned(2.5)
    assert it.beat(3.0) == ()
    assert not it.held


def test_only_a_running_worker_can_be_drained() -> None:
    with pytest.raises(Conflict, match="dummy is stopped"):
        child().drain()


def test_what_cannot_start_is_given_up_at_once() -> None:
    it = child()
    assert it.start(0.0) == (Spawn(),)
    assert it.cannot_start("port 8000 is taken") == ()
    assert (it.state, it.problem, it.due_at()) == (State.FATAL, "port 8000 is taken", None)
    assert it.start(1.0) == (Spawn(),)


def test_a_restart_may_skip_the_drain() -> None:
    it = running()
    assert it.restart(1.0, at_once=True) == (Send(signal.SIGQUIT),)
    assert it.exited(2.0, Exit.of(-3)) == (Spawn(),)
