"""The run ledger on both databases: one holder a run, signals once, nothing lost between claim and wait."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import FenceLost
from core.storage.database import Database
from core.storage.runs import Owner, RunLedger, add_signal, create_run, fenced, request_cancel, take_signals, wait
from core.storage.tables import Run

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
QUEUE = "engagements"


def make_run(database: Database, subject: str = "s1", now: datetime = NOW) -> str:
    with database.write() as session:
        return create_run(session, workflow="engagement", version="1", queue=QUEUE, subject_id=subject, position="initiate_call", now=now)


def ledger(database: Database, name: str = "a") -> RunLedger:
    owner = replace(Owner.this_process(), host=name)
    return RunLedger(database, owner)


def test_a_due_run_is_claimed_by_one_only(database: Database) -> None:
    make_run(database)
    first = ledger(database, "a").claim_due(QUEUE, NOW, 10)
    second = ledger(database, "b").claim_due(QUEUE, NOW, 10)
    assert [claim.position for claim in first] == ["initiate_call"]
    assert second == []


def test_threads_claiming_at_once_share_the_runs(database: Database) -> None:
    for number in range(40):
        make_run(database, f"s{number}")
    claimed: list[str] = []
    lock = threading.Lock()

    def work(name: str) -> None:
        mine = ledger(database, name)
        while claims := mine.claim_due(QUEUE, NOW, 3):
            with lock:
                claimed.extend(claim.run_id for claim in claims)

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 40
    assert len(set(claimed)) == 40


def test_a_run_that_is_not_due_is_left_alone(database: Database) -> None:
    make_run(database, now=NOW + timedelta(seconds=1))
    assert ledger(database).claim_due(QUEUE, NOW, 10) == []
    assert ledger(database).next_wake(QUEUE) == NOW + timedelta(seconds=1)


def test_an_expired_lease_is_taken_over_and_the_old_owner_can_write_no_more(sqlite_database: Database) -> None:
    make_run(sqlite_database)
    (old,) = ledger(sqlite_database, "a").claim_due(QUEUE, NOW, 10)
    later = NOW + timedelta(seconds=61)
    (new,) = ledger(sqlite_database, "b").claim_due(QUEUE, later, 10)
    assert new.fence > old.fence
    with pytest.raises(FenceLost), sqlite_database.write() as session:
        fenced(session, old)
    with sqlite_database.write() as session:
        assert fenced(session, new).id == new.run_id


def test_a_renewed_lease_is_not_taken_over(sqlite_database: Database) -> None:
    make_run(sqlite_database)
    holder = ledger(sqlite_database, "a")
    claims = holder.claim_due(QUEUE, NOW, 10)
    holder.renew(claims, NOW + timedelta(seconds=50))
    assert ledger(sqlite_database, "b").claim_due(QUEUE, NOW + timedelta(seconds=70), 10) == []


def test_a_signal_wakes_a_waiting_run_once(database: Database) -> None:
    run_id = make_run(database)
    mine = ledger(database)
    (claim,) = mine.claim_due(QUEUE, NOW, 10)
    with database.write() as session:
        wait(session, fenced(session, claim), position="await_webhook", waiting_for="attempt:x", wake_at=NOW + timedelta(hours=1), now=NOW)
    assert mine.claim_due(QUEUE, NOW, 10) == []
    for expected in (True, False):
        with database.write() as session:
            assert signal(session, run_id) is expected
    (again,) = mine.claim_due(QUEUE, NOW, 10)
    assert again.position == "await_webhook"
    with database.write() as session:
        assert [s.kind for s in take_signals(session, fenced(session, again), NOW)] == ["status"]
        assert take_signals(session, fenced(session, again), NOW) == []


def test_a_signal_that_comes_while_the_run_works_is_found_when_it_waits(database: Database) -> None:
    run_id = make_run(database)
    mine = ledger(database)
    (claim,) = mine.claim_due(QUEUE, NOW, 10)
    with database.write() as session:
        signal(session, run_id)
    with database.write() as session:
        wait(session, fenced(session, claim), position="await_webhook", waiting_for="attempt:x", wake_at=NOW + timedelta(hours=1), now=NOW)
    assert len(mine.claim_due(QUEUE, NOW, 10)) == 1


def test_cancelling_wakes_the_run(database: Database) -> None:
    run_id = make_run(database)
    mine = ledger(database)
    (claim,) = mine.claim_due(QUEUE, NOW, 10)
    with database.write() as session:
        wait(session, fenced(session, claim), position="initiate_call", waiting_for="retry", wake_at=NOW + timedelta(days=1), now=NOW)
    with database.write() as session:
        request_cancel(session, "s1", NOW)
    (again,) = mine.claim_due(QUEUE, NOW, 10)
    with database.read() as session:
        assert session.get_one(Run, again.run_id).cancel_requested
    assert again.run_id == run_id


def test_a_dead_owners_runs_come_back_at_once_and_a_living_ones_do_not(database: Database) -> None:
    told = subprocess.run(
        [sys.executable, "-c", "from core.storage.runs import Owner; print(Owner.this_process())"],
        check=True,
        capture_output=True,
        text=True,
    )
    dead = Owner.parse(told.stdout.strip())
    assert dead.is_dead()
    assert not Owner.this_process().is_dead()
    assert replace(Owner.this_process(), boot_id="an-earlier-boot").is_dead()
    assert not replace(dead, host="another-machine").is_dead()

    make_run(database, "s1")
    (lost,) = RunLedger(database, dead).claim_due(QUEUE, NOW, 1)
    make_run(database, "s2")
    (held,) = RunLedger(database, Owner.this_process()).claim_due(QUEUE, NOW, 1)
    mine = ledger(database)
    assert mine.release_dead(NOW) == 1
    assert [claim.run_id for claim in mine.claim_due(QUEUE, NOW, 10)] == [lost.run_id]
    assert held.run_id != lost.run_id
    assert os.getpid() == Owner.this_process().pid


def test_a_failed_step_gives_the_run_back_for_later(database: Database) -> None:
    make_run(database)
    mine = ledger(database)
    (claim,) = mine.claim_due(QUEUE, NOW, 10)
    mine.fail_step(claim, "ValueError: no", NOW, timedelta(seconds=5))
    assert mine.claim_due(QUEUE, NOW, 10) == []
    (again,) = mine.claim_due(QUEUE, NOW + timedelta(seconds=5), 10)
    assert again.errors == 1


def signal(session, run_id: str) -> bool:
    return add_signal(
        session,
        run_id=run_id,
        attempt_id=None,
        source="twilio:status",
        external_id="CA1:0",
        kind="status",
        payload={"status": "ringing"},
        now=NOW,
    )
