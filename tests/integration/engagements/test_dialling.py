"""One dial: judged and written down before its request, blocked by every rule that says so, never sent twice."""

from __future__ import annotations

import threading
import time as time_module
from dataclasses import replace
from datetime import time, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from core.calls.dialler import Blocked, Intent
from core.domain.calls import AttemptStatus, CallState
from core.domain.outcomes import Outcome
from core.errors import FenceLost
from core.storage.attempts import begin_attempt, lock_dial, read_attempt
from core.storage.calls import ENGAGEMENT_QUEUE
from core.storage.numbers import suppress
from core.storage.problems import ProblemStore
from core.storage.runs import Owner, RunLedger, fenced
from core.storage.tables import Attempt, Contact, Run
from core.telephony.base import CarrierStatus, NotPlaced, Placed, Unknown


def test_verdicts_and_attempt_are_committed_before_the_request(bench) -> None:
    call = bench.call()
    seen = {}

    def look(request) -> None:
        # From another transaction: only what is committed can be seen.
        row = read_attempt(bench.database, request.attempt_id)
        seen.update(status=row.status, until=row.dial_until, before=row.send_before, owner=row.owner_pid)
        seen["verdicts"] = {verdict.rule for verdict in bench.calls.verdicts(call) if verdict.allowed}
        seen["position"] = bench.run(call).position

    bench.carrier.on_dial = look
    bench.step()
    assert seen["status"] == AttemptStatus.DIALING
    assert seen["before"] == bench.noon + timedelta(seconds=10)
    assert seen["until"] == bench.noon + timedelta(hours=4) - timedelta(seconds=60)
    assert seen["owner"] == Owner.this_process().pid
    assert {"kill_switch", "do_not_call", "window", "permitted_hours", "rate"} <= seen["verdicts"]
    assert seen["position"] == "await_webhook"
    assert bench.attempt(call).status == AttemptStatus.QUEUED
    assert bench.state(call) == CallState.DIALING


def test_every_address_the_carrier_is_given_names_the_attempt(bench) -> None:
    call = bench.call()
    bench.step()
    (request,) = bench.carrier.dials
    assert request.attempt_id == bench.attempt(call).id
    for url in (request.voice_url, request.status_url, request.amd_url):
        assert url.startswith("https://orch.example/webhooks/twilio/")
        assert url.endswith(f"?attempt={request.attempt_id}")


def suppressed(bench, contact) -> None:
    with bench.database.write() as session:
        suppress(session, session.get_one(Contact, contact).phone, "test", bench.noon)


def inactive(bench, contact) -> None:
    with bench.database.write() as session:
        session.get_one(Contact, contact).active = False


@pytest.mark.parametrize(
    ("rule", "state", "arrange"),
    [
        ("do_not_call", CallState.CANCELLED, suppressed),
        ("contact", CallState.CANCELLED, inactive),
        ("allow_list", CallState.FAILED, lambda bench, _: bench.change(dial_only=("+12025550199",))),
        ("contact", CallState.CANCELLED, lambda bench, _: bench.change(countries=("DE",))),
        ("kill_switch", CallState.PENDING, lambda bench, _: bench.control.pause("test", bench.noon)),
        ("permitted_hours", CallState.PENDING, lambda bench, _: bench.change(permitted_from=time(13))),
        ("concurrency", CallState.PENDING, lambda bench, _: bench.change(max_concurrent=0)),
        ("clock", CallState.PENDING, lambda bench, _: bench.control.record_skew(61.0, bench.noon)),
    ],
)
def test_a_rule_that_says_no_stops_the_dial_and_is_stored(bench, rule, state, arrange) -> None:
    contact = bench.contact()
    arrange(bench, contact)
    call = bench.call(contact)
    bench.step()
    assert bench.carrier.dials == []
    assert bench.verdict(call, rule) == [False]
    assert bench.state(call) == state
    assert bench.view(call).reason


def test_people_of_the_simulator_are_never_dialled_by_a_real_carrier(bench) -> None:
    person = bench.call(bench.contact(simulated=True))
    intention = bench.call(simulated=True)
    bench.step()
    assert bench.carrier.dials == []
    for call in (person, intention):
        assert bench.verdict(call, "carrier") == [False]
        assert bench.state(call) == CallState.FAILED


def test_real_people_are_not_dialled_by_the_simulator(bench) -> None:
    bench.change(carrier_is_real=False)
    call = bench.call()
    bench.step()
    assert bench.carrier.dials == []
    assert bench.state(call) == CallState.FAILED


def test_a_window_that_has_no_time_left_to_ring_is_missed(bench) -> None:
    call = bench.call(window=timedelta(seconds=89))
    bench.step()
    assert bench.carrier.dials == []
    assert bench.state(call) == CallState.MISSED


def test_caps_and_gap_count_the_number_whoever_is_called(bench) -> None:
    bench.change(per_day=2)
    first, second = bench.contact(50), bench.contact(50)
    one = bench.call(first)
    bench.step()
    bench.says(one, CarrierStatus.COMPLETED)
    bench.step()
    two = bench.call(second, window=timedelta(hours=8))
    bench.tick(60)
    assert len(bench.carrier.dials) == 1
    assert bench.verdict(two, "min_gap") == [False]
    bench.tick(15 * 60)
    assert len(bench.carrier.dials) == 2
    assert bench.verdict(two, "min_gap") == [False, True]
    bench.says(two, CarrierStatus.BUSY)
    bench.step()
    # The call made first was dropped, and waits for its own retry; the cap is used up by both together.
    bench.tick(31 * 60)
    assert len(bench.carrier.dials) == 2
    assert False in bench.verdict(one, "caps_day") or False in bench.verdict(two, "caps_day")


def test_a_verdict_is_stored_only_when_its_answer_changes(bench) -> None:
    bench.control.pause("test", bench.noon)
    call = bench.call()
    for _ in range(5):
        bench.step()
        bench.control.resume(bench.noon)
        bench.control.pause("test", bench.noon)
    assert bench.verdict(call, "kill_switch") == [False]
    bench.control.resume(bench.noon)
    bench.step()
    assert bench.verdict(call, "kill_switch") == [False, True]
    assert bench.verdict(call, "do_not_call") == [True]
    assert len(bench.carrier.dials) == 1


def test_concurrency_counts_every_open_call(bench) -> None:
    bench.change(max_concurrent=2)
    calls = [bench.call() for _ in range(3)]
    bench.step()
    assert len(bench.carrier.dials) == 2
    (waiting,) = [call for call in calls if not bench.view(call).attempts]
    done = next(call for call in calls if call != waiting)
    bench.says(done, CarrierStatus.COMPLETED)
    bench.tick(5)
    assert len(bench.carrier.dials) == 3


def test_each_call_has_its_own_place_in_the_queue(bench) -> None:
    bench.change(per_second=1.0)
    calls = [bench.call() for _ in range(5)]
    bench.step()
    assert len(bench.carrier.dials) == 1
    slots = sorted(bench.row(call).slot_at for call in calls if bench.row(call).slot_at is not None)
    assert slots == [bench.noon + timedelta(seconds=n) for n in range(1, 5)]
    for number in range(2, 6):
        bench.tick(1)
        assert len(bench.carrier.dials) == number
    assert len({request.to for request in bench.carrier.dials}) == 5


def test_places_that_went_by_during_a_pause_are_not_all_used_at_once(bench) -> None:
    bench.change(per_second=1.0)
    for _ in range(8):
        bench.call()
    bench.step()
    bench.control.pause("test", bench.clock.now())
    bench.step()
    bench.clock.advance(600)
    bench.control.resume(bench.clock.now())
    bench.step()
    assert len(bench.carrier.dials) == 2
    for number in range(3, 9):
        bench.tick(1)
        assert len(bench.carrier.dials) == number


def test_a_place_after_the_window_is_missed_for_capacity(bench) -> None:
    bench.change(per_second=0.01)
    calls = [bench.call(window=timedelta(seconds=95)) for _ in range(2)]
    bench.step()
    assert len(bench.carrier.dials) == 1
    assert sorted(bench.state(call) for call in calls) == [CallState.DIALING, CallState.MISSED]
    (missed,) = [call for call in calls if bench.state(call) == CallState.MISSED]
    assert "ORCH_CALLS_PER_SECOND" in bench.view(missed).reason


def test_a_call_woken_early_keeps_its_place(bench) -> None:
    bench.change(per_second=1.0)
    calls = [bench.call() for _ in range(4)]
    bench.step()
    places = {call: bench.row(call).slot_at for call in calls}
    bench.control.pause("test", bench.noon)
    bench.control.resume(bench.noon)
    bench.step()
    assert {call: bench.row(call).slot_at for call in calls} == places
    assert len(bench.carrier.dials) == 1


@pytest.mark.parametrize(
    ("permanent", "operator", "outcome", "state"),
    [
        (True, False, Outcome.REJECTED, CallState.FAILED),
        (False, False, Outcome.FAILED, CallState.WAITING_RETRY),
        (False, True, Outcome.FAILED, CallState.WAITING_RETRY),
    ],
)
def test_what_was_certainly_not_placed_is_settled_at_once(bench, permanent, operator, outcome, state) -> None:
    bench.carrier.on_dial = lambda _request: NotPlaced("21000", "refused", permanent, operator)
    call = bench.call()
    bench.step()
    row = bench.attempt(call)
    assert (row.status, row.outcome, row.carrier_call_id) == (AttemptStatus.ENDED, outcome, None)
    assert bench.state(call) == state
    problems = [problem.kind for problem in ProblemStore(bench.database).open()]
    assert problems == (["carrier"] if operator else [])
    # Nobody was rung: that uses up no retry of the contact's.
    assert bench.view(call).retry_count == 0
    bench.carrier.on_dial = lambda _request: None
    bench.tick(5 * 60 if operator else 60)
    assert len(bench.carrier.dials) == (1 if permanent else 2)


def test_a_decision_that_lay_too_long_is_not_sent(sqlite_bench) -> None:
    bench = sqlite_bench
    call = bench.call()
    (claim,) = bench.ledger.claim_due(ENGAGEMENT_QUEUE, bench.noon, 1)
    intent = bench.dialler.decide(claim)
    assert isinstance(intent, Intent)
    # A laptop closed here: the wall clock may even have been set back, the clock since boot went on.
    bench.clock.advance(10.5)
    bench.dialler.send(intent)
    assert bench.carrier.dials == []
    assert bench.attempt(call).outcome == Outcome.FAILED
    assert "too long" in bench.attempt(call).reason


def test_a_taken_over_run_decides_nothing(sqlite_bench) -> None:
    bench = sqlite_bench
    call = bench.call()
    (old,) = bench.ledger.claim_due(ENGAGEMENT_QUEUE, bench.noon, 1)
    other = RunLedger(bench.database, replace(bench.owner, host="elsewhere"))
    bench.clock.advance(61)
    (new,) = other.claim_due(ENGAGEMENT_QUEUE, bench.clock.now(), 1)
    with pytest.raises(FenceLost):
        bench.dialler.decide(old)
    assert bench.view(call).attempts == ()
    assert bench.calls.verdicts(call) == []
    assert isinstance(bench.dialler.decide(new), Intent)


def test_one_number_has_one_open_attempt_over_two_contacts(bench) -> None:
    one, two = bench.call(bench.contact(60)), bench.call(bench.contact(60))
    bench.step()
    assert len(bench.carrier.dials) == 1
    waiting = next(call for call in (one, two) if not bench.view(call).attempts)
    assert bench.verdict(waiting, "open_attempt") == [False]


def test_the_database_itself_refuses_a_second_open_attempt(bench) -> None:
    one, two = bench.call(bench.contact(60)), bench.call(bench.contact(60))

    def begin(call: str) -> None:
        with bench.database.write() as session:
            rows = lock_dial(session, call, bench.noon)
            run = session.query(Run).filter_by(subject_id=call).one()
            until = bench.noon + timedelta(hours=1)
            begin_attempt(
                session,
                rows,
                run,
                bench.owner,
                carrier="x",
                account="x",
                mode="enhanced",
                now=bench.noon,
                send_before=bench.noon,
                dial_until=until,
            )

    begin(one)
    with pytest.raises(IntegrityError):
        begin(two)


def test_two_drivers_on_one_database_dial_each_call_once(bench) -> None:
    calls = [bench.call() for _ in range(40)]
    drivers = [bench.driver, bench.rebuild(), bench.rebuild()]
    go = threading.Barrier(len(drivers))

    def work(driver) -> None:
        go.wait()
        deadline = time_module.monotonic() + 60
        while len(bench.carrier.dials) < len(calls) and time_module.monotonic() < deadline:
            driver.step_due(bench.noon)
        driver.step_due(bench.noon)

    threads = [threading.Thread(target=work, args=(driver,)) for driver in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(request.to for request in bench.carrier.dials) == sorted(bench.view(call).phone for call in calls)
    assert all(len(bench.view(call).attempts) == 1 for call in calls)


def test_a_webhook_that_is_quicker_than_the_answer_stands(bench) -> None:
    call = bench.call()

    def ring_first(request):
        sid = bench.carrier.place(request.to)
        bench.says(call, CarrierStatus.RINGING, sequence=1, sid=sid)
        return Placed(sid, CarrierStatus.QUEUED, 0.0, None)

    bench.carrier.on_dial = ring_first
    bench.step()
    assert bench.attempt(call).status == AttemptStatus.RINGING


def test_a_call_that_was_over_before_the_answer_stays_over(bench) -> None:
    call = bench.call()

    def busy_first(request):
        sid = bench.carrier.place(request.to)
        bench.says(call, CarrierStatus.BUSY, sequence=2, sid=sid)
        return Placed(sid, CarrierStatus.QUEUED, 0.0, None)

    bench.carrier.on_dial = busy_first
    bench.step()
    assert bench.attempt(call).outcome == Outcome.BUSY
    assert bench.state(call) == CallState.WAITING_RETRY


def test_a_refusal_contradicted_by_a_webhook_is_not_believed(bench) -> None:
    call = bench.call()

    def ring_and_refuse(request):
        bench.says(call, CarrierStatus.RINGING, sid=bench.carrier.place(request.to))
        return NotPlaced("21000", "refused", permanent=True, operator=False)

    bench.carrier.on_dial = ring_and_refuse
    bench.step()
    assert bench.attempt(call).status == AttemptStatus.RINGING
    assert [problem.key for problem in ProblemStore(bench.database).open()] == [f"contradiction:{bench.attempt(call).id}"]


def test_the_carriers_clock_is_compared_with_ours(bench) -> None:
    bench.call()
    bench.carrier.on_dial = lambda request: Placed(
        bench.carrier.place(request.to), CarrierStatus.QUEUED, 0.0, bench.noon + timedelta(seconds=90)
    )
    bench.step()
    other = bench.call()
    bench.step()
    assert len(bench.carrier.dials) == 1
    assert bench.verdict(other, "clock") == [False]


def test_clocks_that_agree_again_are_dialled_by_again(bench) -> None:
    bench.control.record_skew(90.0, bench.noon)
    bench.call()
    bench.step()
    bench.carrier.ahead = timedelta(seconds=80)
    bench.watch.tick(bench.noon)
    bench.clock.advance(60)
    bench.step()
    assert bench.carrier.dials == []
    bench.carrier.ahead = timedelta(seconds=1)
    bench.watch.tick(bench.noon)
    bench.clock.advance(60)
    bench.step()
    assert len(bench.carrier.dials) == 1


def test_a_cancelled_call_is_not_dialled(bench) -> None:
    call = bench.call()
    bench.calls.cancel(call, bench.noon)
    bench.step()
    assert bench.carrier.dials == []
    assert bench.state(call) == CallState.CANCELLED


def test_a_resume_that_falls_between_verdict_and_wait_is_not_lost(bench) -> None:
    call = bench.call(window=None)
    bench.control.pause("test", bench.noon)
    (claim,) = bench.ledger.claim_due(ENGAGEMENT_QUEUE, bench.noon, 1)
    blocked = bench.dialler.decide(claim)
    assert isinstance(blocked, Blocked)
    bench.control.resume(bench.noon)

    # The rest of the step, as the node does it once its verdict is known.
    from core.engagement.nodes import _wait_for_permission

    _wait_for_permission(bench.work, claim, blocked)
    bench.step()
    assert len(bench.carrier.dials) == 1
    assert bench.view(call).attempts


def test_an_unanswered_request_is_unknown_and_raises_an_alarm(bench) -> None:
    call = bench.call()
    bench.carrier.on_dial = lambda _request: Unknown("time-out")
    bench.step()
    row = bench.attempt(call)
    assert (row.status, row.outcome) == (AttemptStatus.UNKNOWN, None)
    assert row.request_ended_at is not None
    assert [problem.kind for problem in ProblemStore(bench.database).open()] == ["unknown"]


def test_a_host_with_a_long_name_can_dial(bench) -> None:
    bench.owner = replace(bench.owner, host="ip-10-20-30-40.eu-central-1.compute.internal.example.org")
    bench.rebuild()
    call = bench.call()
    bench.step()
    assert len(bench.carrier.dials) == 1
    assert bench.attempt(call).owner_pid == bench.owner.pid


def test_attempts_of_a_fenced_out_owner_are_not_begun(sqlite_bench) -> None:
    bench = sqlite_bench
    bench.call()
    (claim,) = bench.ledger.claim_due(ENGAGEMENT_QUEUE, bench.noon, 1)
    stale = replace(claim, fence=claim.fence - 1)
    with pytest.raises(FenceLost), bench.database.write() as session:
        fenced(session, stale)
    with bench.database.read() as session:
        assert session.query(Attempt).count() == 0
