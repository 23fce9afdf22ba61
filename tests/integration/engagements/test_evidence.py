"""What the carrier shows that does not fit: a second call for one attempt, a stranger's call in a listing, another account."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from core.calls.resolve import Found, resolve_call
from core.calls.settlement import Applied
from core.domain.calls import AttemptStatus, CallState
from core.domain.outcomes import Outcome
from core.storage.problems import ProblemStore
from core.telephony.base import CarrierStatus, NotPlaced, Placed, Unknown


def kinds(bench) -> list[str]:
    return [problem.kind for problem in ProblemStore(bench.database).open(bench.clock.now())]


def vanish(_request) -> Unknown:
    return Unknown("time-out")


@pytest.mark.parametrize("carrier_is_down", [False, True])
def test_a_second_carrier_call_of_one_attempt_is_hung_up_and_the_first_goes_on(bench, carrier_is_down) -> None:
    call = bench.call()
    bench.step()
    first = bench.attempt(call).carrier_call_id
    second = bench.carrier.place(bench.view(call).phone)
    bench.carrier.down = carrier_is_down
    assert bench.says(call, CarrierStatus.RINGING, sequence=1, sid=second) is Applied.FOREIGN_CALL
    bench.step()
    if carrier_is_down:
        assert bench.carrier.hung_up == []
        bench.carrier.down = False
        bench.watch.tick(bench.clock.now())
    assert bench.carrier.hung_up == [second]
    assert bench.attempt(call).carrier_call_id == first
    assert bench.attempt(call).outcome is None
    assert kinds(bench) == ["double"]
    # Heard of again, it is not hung up again: it is over.
    bench.says(call, CarrierStatus.CANCELED, sequence=2, sid=second)
    bench.says(call, CarrierStatus.RINGING, sequence=1, sid=second)
    bench.tick(61)
    bench.watch.tick(bench.clock.now())
    assert bench.carrier.hung_up == [second]


def test_a_second_carrier_call_that_is_over_is_only_reported(bench) -> None:
    call = bench.call()
    bench.step()
    second = bench.carrier.place(bench.view(call).phone)
    assert bench.says(call, CarrierStatus.NO_ANSWER, sequence=1, sid=second) is Applied.FOREIGN_CALL
    bench.step()
    assert bench.carrier.hung_up == []
    assert kinds(bench) == ["double"]


def test_a_second_carrier_call_of_a_call_that_was_closed_is_hung_up_too(bench) -> None:
    call = bench.call()
    bench.step()
    bench.says(call, CarrierStatus.FAILED, sip=404)
    bench.step()
    assert bench.is_over(call)
    second = bench.carrier.place(bench.view(call).phone)
    bench.says(call, CarrierStatus.RINGING, sequence=1, sid=second)
    bench.step()
    assert bench.carrier.hung_up == [second]
    assert bench.is_over(call)


def test_an_answer_that_names_another_call_than_the_webhooks_did_leaves_one(bench) -> None:
    placed = []

    def twice(request):
        placed.extend([bench.carrier.place(request.to), bench.carrier.place(request.to)])
        bench.says(call, CarrierStatus.RINGING, sequence=1, sid=placed[0])
        return Placed(placed[1], CarrierStatus.QUEUED, 0.0, None)

    call = bench.call()
    bench.carrier.on_dial = twice
    bench.step()
    bench.step()
    assert bench.attempt(call).carrier_call_id == placed[0]
    assert bench.carrier.hung_up == [placed[1]]
    assert kinds(bench) == ["double"]


def test_a_strangers_older_call_in_the_listing_keeps_an_unknown_attempt_unknown(bench) -> None:
    call = bench.call()
    stranger = bench.carrier.place(bench.view(call).phone)
    bench.carrier.calls[stranger] = replace(
        bench.carrier.calls[stranger], created_at=bench.noon - timedelta(hours=2), status=CarrierStatus.COMPLETED
    )
    bench.carrier.on_dial = vanish
    bench.step()
    for _ in range(4):
        bench.tick(11 * 60)
    row = bench.attempt(call)
    assert bench.carrier.listings >= 3
    assert (row.status, row.carrier_call_id, row.first_absent_at) == (AttemptStatus.UNKNOWN, None, None)
    assert len(bench.carrier.dials) == 1
    assert bench.carrier.hung_up == []
    assert "stranger" in {problem.key.partition(":")[0] for problem in ProblemStore(bench.database).open()}


def test_a_stranger_between_two_empty_listings_starts_the_proof_anew(bench) -> None:
    call = bench.call()
    bench.carrier.on_dial = vanish
    bench.step()
    bench.tick(61)
    assert bench.attempt(call).first_absent_at is not None
    stranger = bench.carrier.place(bench.view(call).phone)
    bench.carrier.calls[stranger] = replace(bench.carrier.calls[stranger], created_at=bench.noon - timedelta(hours=2))
    bench.tick(61)
    assert bench.attempt(call).first_absent_at is None
    del bench.carrier.calls[stranger]
    bench.tick(10 * 60)
    assert bench.attempt(call).outcome is None


def test_another_accounts_listing_proves_nothing(bench) -> None:
    call = bench.call(window=timedelta(hours=2))
    bench.carrier.on_dial = vanish
    bench.step()
    ours = bench.carrier.account
    bench.carrier.account = "AC-another"
    for _ in range(3):
        bench.tick(11 * 60)
    assert bench.carrier.listings == 0
    assert bench.attempt(call).status == AttemptStatus.UNKNOWN
    assert bench.state(call) == CallState.DIALING
    (problem,) = [problem for problem in ProblemStore(bench.database).open() if problem.kind == "account"]
    assert ours in problem.detail
    assert "AC-another" in problem.detail
    # The account is set back: the question can be asked again, and the alarm goes.
    bench.carrier.account = ours
    bench.tick(61)
    assert bench.carrier.listings == 1
    assert "account" not in kinds(bench)
    bench.tick(601)
    assert bench.attempt(call).outcome == Outcome.FAILED


def test_a_call_of_another_account_is_neither_fetched_nor_lost(bench) -> None:
    call = bench.call()
    bench.step()
    fetched = []
    bench.carrier.on_fetch = fetched.append
    bench.carrier.account = "AC-another"
    bench.tick(120)
    assert fetched == []
    assert bench.attempt(call).status == AttemptStatus.QUEUED
    # Its webhooks still tell.
    bench.says(call, CarrierStatus.BUSY)
    bench.step()
    assert bench.attempt(call).outcome == Outcome.BUSY


def test_a_call_of_another_account_that_should_end_is_not_looked_at_without_rest(bench) -> None:
    call = bench.call(window=timedelta(minutes=3))
    bench.step()
    bench.carrier.account = "AC-another"
    bench.clock.advance(150)
    assert bench.step().claimed <= 1
    # Its time to stop has come, and nobody can stop it: that is an alarm, and no reason to look again at once.
    assert bench.run(call).wake_at > bench.clock.now() + timedelta(seconds=5)
    assert bench.carrier.hung_up == []
    assert "account" in kinds(bench)


def test_a_call_of_another_account_is_unresolved_in_the_end_and_a_person_can_settle_it(bench) -> None:
    call = bench.call(window=timedelta(hours=1))
    bench.step()
    bench.carrier.account = "AC-another"
    for _ in range(12):
        bench.tick(3600)
        bench.watch.tick(bench.clock.now())
    assert bench.attempt(call).status == AttemptStatus.UNKNOWN
    assert bench.state(call) == CallState.UNRESOLVED
    resolve_call(bench.database, bench.settlement, call, Found.NO_ANSWER, by="me", note=None, now=bench.clock.now())
    assert bench.attempt(call).outcome == Outcome.NO_ANSWER
    assert "account" not in kinds(bench)


def test_a_stray_that_was_hung_up_is_no_stranger_to_a_later_attempt(bench) -> None:
    call = bench.call()
    bench.step()
    stray = bench.carrier.place(bench.view(call).phone)
    bench.says(call, CarrierStatus.RINGING, sequence=1, sid=stray)
    bench.says(call, CarrierStatus.BUSY, sequence=2)
    bench.step()
    bench.carrier.on_dial = vanish
    bench.tick(30 * 60)
    bench.tick(61)
    assert bench.attempt(call).carrier_call_id is None
    assert bench.attempt(call).first_absent_at is not None
    bench.tick(601)
    assert bench.attempt(call).outcome == Outcome.FAILED


def test_what_is_mended_is_no_alarm_any_more(bench) -> None:
    call = bench.call()
    bench.carrier.on_dial = lambda _request: NotPlaced("20003", "authenticate", permanent=False, operator=True)
    bench.step()
    assert kinds(bench) == ["carrier"]
    bench.carrier.on_dial = lambda _request: None
    bench.tick(301)
    assert bench.attempt(call).carrier_call_id is not None
    assert kinds(bench) == []
