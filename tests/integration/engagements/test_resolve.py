"""`orch call resolve`: a person says what became of a dial that nobody else can tell of. It settles once, and dials nothing."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from core.calls.resolve import Found, resolve_call
from core.domain.calls import AttemptStatus, CallState
from core.domain.outcomes import Outcome
from core.domain.runs import ENDED_RUN_STATES
from core.errors import Conflict, InvalidInput
from core.storage.problems import ProblemStore
from core.telephony.base import CarrierStatus, Unknown


def problems(bench) -> list[str]:
    return [problem.kind for problem in ProblemStore(bench.database).open(bench.clock.now())]


def unresolved(bench, *, window: timedelta | None = timedelta(hours=4), number: int | None = None) -> str:
    """A call whose request was never answered, of which nothing was heard until its time was over."""
    bench.carrier.on_dial = lambda _request: Unknown("time-out")
    call = bench.call(bench.contact(number), window=window)
    bench.step()
    bench.carrier.on_dial = lambda _request: None
    bench.carrier.down = True
    bench.tick((window or timedelta(hours=24)).total_seconds())
    bench.carrier.down = False
    assert bench.state(call) is CallState.UNRESOLVED
    assert problems(bench) == ["unresolved", "unknown"]
    return call


def settle(bench, call: str, found: Found, note: str | None = None) -> None:
    resolve_call(bench.database, bench.settlement, call, found, by="ada", note=note, now=bench.clock.now())


@pytest.mark.parametrize(
    ("found", "outcome", "state", "counts"),
    [
        (Found.ANSWERED, Outcome.ANSWERED, CallState.COMPLETED, True),
        (Found.HUNG_UP_EARLY, Outcome.HUNG_UP_EARLY, CallState.COMPLETED, True),
        (Found.VOICEMAIL, Outcome.VOICEMAIL, CallState.MISSED, True),
        (Found.NO_ANSWER, Outcome.NO_ANSWER, CallState.MISSED, True),
        (Found.BUSY, Outcome.BUSY, CallState.MISSED, True),
        (Found.NEVER_PLACED, Outcome.FAILED, CallState.MISSED, False),
    ],
)
def test_what_a_person_found_settles_the_attempt_and_frees_the_number(sqlite_bench, found, outcome, state, counts) -> None:
    bench = sqlite_bench
    call = unresolved(bench, number=1)
    settle(bench, call, found, "looked  at the console")
    view = bench.view(call)
    assert (view.state, view.reason) == (state, f"{found.replace('_', ' ')}, says ada")
    attempt = view.attempts[-1]
    assert (attempt.status, attempt.outcome, attempt.resolved_by) == (AttemptStatus.ENDED, outcome, "ada")
    assert problems(bench) == []
    event = bench.calls.events(call)[-1]
    assert (event.kind, event.detail) == ("resolved", {"as": found, "by": "ada", "note": "looked at the console"})
    # Nothing is dialled because of it; the number is free, and what rang it counts.
    bench.tick(1)
    assert len(bench.carrier.dials) == 1
    assert bench.is_over(call)
    again = bench.call(bench.contact(1))
    bench.change(per_day=1)
    bench.step()
    assert bench.verdict(again, "open_attempt") == [True]
    assert bench.verdict(again, "caps_day") == [not counts]
    assert len(bench.carrier.dials) == (1 if counts else 2)


@pytest.mark.parametrize("window", [None, timedelta(hours=4)])
def test_it_is_not_retried_however_long_one_waits(sqlite_bench, window) -> None:
    bench = sqlite_bench
    call = unresolved(bench, window=window)
    settle(bench, call, Found.NO_ANSWER)
    for _ in range(5):
        bench.tick(12 * 3600)
    assert bench.state(call) is CallState.MISSED
    assert len(bench.carrier.dials) == 1


def test_only_an_unresolved_call_is_resolved_and_only_once(bench) -> None:
    call = unresolved(bench)
    open_call = bench.call()
    with pytest.raises(Conflict, match="not unresolved but pending"):
        settle(bench, open_call, Found.BUSY)
    with pytest.raises(InvalidInput, match="control character"):
        settle(bench, call, Found.BUSY, "a\x1b[2Jb")
    assert bench.state(call) is CallState.UNRESOLVED
    settle(bench, call, Found.BUSY)
    with pytest.raises(Conflict, match="not unresolved but missed"):
        settle(bench, call, Found.ANSWERED)
    assert bench.view(call).attempts[-1].outcome == Outcome.BUSY


def test_two_people_at_once_settle_it_once(bench) -> None:
    call = unresolved(bench)
    start, results = threading.Barrier(2), []

    def one(found: Found) -> None:
        start.wait()
        try:
            settle(bench, call, found)
            results.append(found)
        except Conflict:
            results.append(None)

    threads = [threading.Thread(target=one, args=(found,)) for found in (Found.BUSY, Found.ANSWERED)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [found for found in results if found is not None]
    assert bench.view(call).attempts[-1].outcome == winner
    assert [event.kind for event in bench.calls.events(call)].count("resolved") == 1


def test_a_call_that_was_heard_of_meanwhile_is_the_carriers_to_tell(bench) -> None:
    call = unresolved(bench)
    sid = bench.carrier.place(bench.view(call).phone)
    bench.says(call, CarrierStatus.BUSY, sequence=1, sid=sid)
    with pytest.raises(Conflict):
        settle(bench, call, Found.NEVER_PLACED)
    bench.step()
    assert bench.view(call).attempts[-1].outcome == Outcome.BUSY


def test_a_call_the_carrier_once_named_was_placed(bench) -> None:
    call = bench.call()
    bench.step()
    bench.carrier.calls.clear()
    bench.tick(61)
    bench.tick(4 * 3600)
    assert bench.state(call) is CallState.UNRESOLVED
    with pytest.raises(Conflict, match="it was placed"):
        settle(bench, call, Found.NEVER_PLACED)
    settle(bench, call, Found.NO_ANSWER)
    assert bench.state(call) is CallState.MISSED


@pytest.mark.parametrize("found", [Found.NEVER_PLACED, Found.NO_ANSWER])
def test_a_phone_that_rings_after_all_is_stopped_and_holds_its_number_until_then(sqlite_bench, found) -> None:
    bench = sqlite_bench
    call = unresolved(bench, number=1, window=None)
    settle(bench, call, found)
    sid = bench.carrier.place(bench.view(call).phone)
    bench.says(call, CarrierStatus.RINGING, sequence=1, sid=sid)
    assert bench.attempt(call).outcome is None
    assert problems(bench) == ["late"]
    bench.step()
    assert bench.carrier.hung_up == [sid]
    bench.says(call, CarrierStatus.CANCELED, sequence=2, sid=sid)
    for _ in range(5):
        bench.tick(12 * 3600)
    assert bench.is_over(call)
    assert bench.attempt(call).resolved_by is None
    assert len(bench.carrier.dials) == 1


def test_late_news_that_it_was_placed_and_is_over_replaces_a_persons_never(bench) -> None:
    call = unresolved(bench)
    settle(bench, call, Found.NEVER_PLACED)
    sid = bench.carrier.place(bench.view(call).phone)
    bench.says(call, CarrierStatus.NO_ANSWER, sequence=1, sid=sid)
    bench.step()
    assert bench.view(call).attempts[-1].outcome == Outcome.NO_ANSWER
    assert bench.is_over(call)
    assert len(bench.carrier.dials) == 1


def test_late_news_that_it_is_over_leaves_a_persons_word(bench) -> None:
    call = unresolved(bench)
    settle(bench, call, Found.ANSWERED)
    sid = bench.carrier.place(bench.view(call).phone)
    bench.says(call, CarrierStatus.COMPLETED, sequence=1, sid=sid)
    bench.step()
    view = bench.view(call)
    assert (view.state, view.attempts[-1].outcome, view.attempts[-1].carrier_call_id) == (CallState.COMPLETED, Outcome.ANSWERED, sid)
    assert bench.run(call).state in ENDED_RUN_STATES
    assert problems(bench) == []


def test_a_phone_that_rings_while_its_successor_is_dialled_is_hung_up_as_a_stray(bench) -> None:
    call = unresolved(bench, number=1)
    settle(bench, call, Found.NEVER_PLACED)
    successor = bench.call(bench.contact(1))
    bench.step()
    assert len(bench.carrier.dials) == 2
    sid = bench.carrier.place(bench.view(call).phone)
    bench.says(call, CarrierStatus.RINGING, sequence=1, sid=sid)
    bench.step()
    assert bench.carrier.hung_up == [sid]
    assert bench.attempt(call).outcome == Outcome.FAILED
    assert bench.attempt(successor).outcome is None
