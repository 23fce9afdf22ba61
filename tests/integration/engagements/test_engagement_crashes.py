"""Killed anywhere: whatever was begun is found out about, and no phone rings twice for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from core.calls.settlement import Settlement
from core.domain.calls import AttemptStatus, CallState
from core.domain.outcomes import Outcome
from core.domain.retries import RetryPolicy
from core.storage.attempts import call_of, latest_attempt
from core.storage.calls import ENGAGEMENT_QUEUE
from core.storage.conversations import TurnRecord
from core.storage.database import Database
from core.storage.runs import Owner, fenced
from core.storage.schema import migrate
from core.telephony.base import CarrierStatus


class Killed(BaseException):
    """What kills a process: nothing in it may catch this."""


class MortalDatabase(Database):
    """Dies at its n-th commit: right after it, or right before, when everything up to it has been done in vain."""

    def __init__(self, url: str, cipher, *, commits: int, before: bool) -> None:
        super().__init__(url, cipher)
        self._left = commits
        self._before = before
        self.dead = False

    @contextmanager
    def read(self) -> Iterator:
        self._live()
        with super().read() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator:
        self._live()
        with super().write() as session:
            yield session
            self._left -= 1
            if self._left == 0 and self._before:
                self._die()
        if self._left == 0:
            self._die()

    def _live(self) -> None:
        if self.dead:
            raise Killed

    def _die(self) -> None:
        self.dead = True
        raise Killed


@pytest.fixture(scope="module")
def dead_owner() -> Owner:
    told = subprocess.run(
        [sys.executable, "-c", "from core.storage.runs import Owner; print(Owner.this_process())"],
        check=True,
        capture_output=True,
        text=True,
    )
    return Owner.parse(told.stdout.strip())


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
@pytest.mark.timeout(300)
def test_a_process_killed_at_any_commit_rings_no_phone_twice(make_bench, vault, dead_owner, tmp_path: Path, before: bool) -> None:
    template = tmp_path / "template.db"
    migrate(f"sqlite:///{template}")
    for commits in range(1, 200):
        folder = tmp_path / str(commits)
        folder.mkdir()
        shutil.copy(template, folder / "orch.db")
        if not lives_through(make_bench, vault, dead_owner, f"sqlite:///{folder / 'orch.db'}", commits, before):
            break
    # Deciding, noting the answer, waiting, settling, retrying, closing: fewer commits than that would not be the whole way.
    assert 12 <= commits < 199


def lives_through(make_bench, vault, dead_owner, url: str, commits: int, before: bool) -> bool:
    """One engagement, with a process that dies at a commit and another that goes on. False: it ended before it could die."""
    # The webhook server lives on: what the carrier says is always stored.
    webhooks = Database(url, vault)
    bench = make_bench(webhooks)
    bench.policy = RetryPolicy(1, (timedelta(minutes=30),))
    bench.owner = dead_owner
    mortal = MortalDatabase(url, vault, commits=commits, before=before)
    driver = bench.rebuild(threads=1, database=mortal)
    bench.settlement = Settlement(webhooks, bench.plans)
    said: set[str] = set()

    def ring_nobody_twice(request) -> None:
        assert all(call.status.is_final for call in bench.carrier.calls.values() if call.to == request.to), "it rings already"
        assert [dial.attempt_id for dial in bench.carrier.dials].count(request.attempt_id) == 1

    bench.carrier.on_dial = ring_nobody_twice
    call = bench.call(window=timedelta(hours=8))
    died = False
    for _ in range(300):
        try:
            driver.step_due(bench.clock.now())
        except Killed:
            assert not died
            died = True
            driver.close()
            mortal.close()
            bench.owner = Owner.this_process()
            driver = bench.rebuild(threads=1)
            driver.recover(bench.clock.now())
        for sid in set(bench.carrier.calls) - said:
            said.add(sid)
            attempt = placed_for(bench, sid)
            number = next(n for n, view in enumerate(bench.view(call).attempts) if view.id == attempt)
            bench.says(call, CarrierStatus.RINGING, sequence=1, sid=sid, attempt=number)
            bench.says(call, CarrierStatus.BUSY, sequence=2, sid=sid, attempt=number)
        if bench.is_over(call):
            break
        bench.clock.advance(61)
    assert bench.is_over(call), bench.view(call)
    assert bench.state(call) == CallState.MISSED
    attempts = bench.view(call).attempts
    assert all(attempt.status == AttemptStatus.ENDED and attempt.outcome for attempt in attempts)
    # One retry: two rings at most, and exactly two unless a request was never sent.
    assert 1 <= len(bench.carrier.calls) <= 2
    assert bench.view(call).retry_count == 1
    bench.close()
    webhooks.close()
    return died


def placed_for(bench, sid: str) -> str:
    """The attempt whose request made this call: the carrier has it in the URLs it was given."""
    return bench.carrier.dials[sorted(bench.carrier.calls).index(sid)].attempt_id


@pytest.mark.parametrize("error", [RuntimeError, Killed])
def test_a_dial_that_breaks_off_is_unknown_and_never_repeated(sqlite_bench, error) -> None:
    bench = sqlite_bench

    def break_off(request) -> None:
        bench.carrier.place(request.to)
        raise error("in the middle of the request")

    bench.carrier.on_dial = break_off
    call = bench.call()
    if error is Killed:
        with pytest.raises(Killed):
            bench.step()
    else:
        assert bench.step().errors == 1
    assert bench.attempt(call).status == AttemptStatus.DIALING
    for _ in range(4):
        bench.tick(61)
    row = bench.attempt(call)
    # Found at the carrier, because the request had reached it after all.
    assert row.carrier_call_id is not None
    assert len(bench.carrier.dials) == 1
    bench.says(call, CarrierStatus.NO_ANSWER)
    bench.step()
    assert bench.attempt(call).outcome == Outcome.NO_ANSWER


def test_a_dead_processes_attempt_is_unknown_at_once(bench, dead_owner) -> None:
    bench.owner = dead_owner
    bench.rebuild()
    call = bench.call()
    (claim,) = bench.ledger.claim_due(ENGAGEMENT_QUEUE, bench.noon, 1)
    bench.dialler.decide(claim)
    bench.owner = Owner.this_process()
    bench.rebuild()
    assert bench.driver.recover(bench.noon) == 1
    bench.step()
    assert bench.attempt(call).status == AttemptStatus.UNKNOWN
    assert bench.carrier.dials == []
    bench.tick(61)
    bench.tick(601)
    assert bench.attempt(call).reason == "absent"


def test_a_living_processes_attempt_is_left_alone(bench) -> None:
    bench.owner = replace(Owner.this_process(), host="another-machine")
    bench.rebuild()
    call = bench.call()
    (claim,) = bench.ledger.claim_due(ENGAGEMENT_QUEUE, bench.noon, 1)
    bench.dialler.decide(claim)
    bench.clock.advance(39)
    bench.watch.tick(bench.clock.now())
    assert bench.attempt(call).status == AttemptStatus.DIALING
    bench.clock.advance(2)
    bench.watch.tick(bench.clock.now())
    assert bench.attempt(call).status == AttemptStatus.UNKNOWN


def status(bench, call) -> None:
    bench.says(call, CarrierStatus.RINGING, sequence=1)


def ended(bench, call) -> None:
    bench.says(call, CarrierStatus.BUSY, sequence=1)


def cancel(bench, call) -> None:
    bench.calls.cancel(call, bench.noon)


def served(bench, call) -> None:
    row = bench.attempt(call)
    bench.conversations.served(row.id, row.carrier_call_id, bench.noon)


def machine(bench, call) -> None:
    bench.conversations.mark_answered_by(bench.attempt(call).id, "machine_start", bench.noon)


def last_words(bench, call) -> None:
    conversation = bench.conversations.open(bench.attempt(call).id, "daily", "x", "voice", {"checkpoints": []}, bench.noon)
    bench.conversations.save(conversation, None, [TurnRecord(0, None, None, "Hi", bench.noon)], {}, "hung_up", bench.noon)


@pytest.mark.parametrize("other", [status, ended, cancel, served, machine, last_words])
def test_whatever_reaches_a_run_takes_its_locks_in_the_runs_own_order(make_bench, postgresql_url: str, vault, other) -> None:
    migrate(postgresql_url)
    database = Database(postgresql_url, vault)
    bench = make_bench(database)
    call = bench.call()
    bench.step()
    with database.write() as session:
        session.execute(text("UPDATE runs SET wake_at = now() - interval '1 day', state = 'waiting'"))
    (claim,) = bench.ledger.claim_due(ENGAGEMENT_QUEUE, bench.noon, 1)
    errors: list[BaseException] = []

    def arrive() -> None:
        try:
            other(bench, call)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    arriving = threading.Thread(target=arrive)
    with database.write() as session:
        run = fenced(session, claim)
        arriving.start()
        deadline = time.monotonic() + 10
        while arriving.is_alive() and not waits_for_a_lock(database) and time.monotonic() < deadline:
            time.sleep(0.01)
        # Had the other one locked these first, one of the two would now be ended by the server's deadlock detection.
        latest_attempt(session, call)
        call_of(session, call)
        assert run.id == claim.run_id
    arriving.join(10)
    assert errors == []
    bench.close()
    database.close()


def waits_for_a_lock(database: Database) -> bool:
    with database.read() as session:
        found: int = session.execute(
            text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        ).scalar_one()
    return found > 0
