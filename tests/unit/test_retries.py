from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from core.domain.calls import CallState
from core.domain.outcomes import Outcome
from core.domain.permitted import PermittedHours
from core.domain.retries import DEFAULT_RETRY_ON, Close, RetryAt, RetryPolicy, decide, outcomes_to_retry
from core.domain.windows import zone_of
from core.errors import InvalidInput

NY = zone_of("America/New_York")
HOURS = PermittedHours(time(8), time(21))
HALF_AN_HOUR_THEN_A_DAY = RetryPolicy(3, (timedelta(minutes=30), timedelta(hours=24)))
EVERY_TEN_MINUTES = RetryPolicy(3, (timedelta(minutes=10),))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def after(policy: RetryPolicy, outcome: Outcome, retries_done: int, ended: str, **other: Any) -> RetryAt | Close:
    ended_at = utc(ended)
    facts: dict[str, Any] = {"now": ended_at, "closes_at": None, "permitted": HOURS, "zone": NY}
    return decide(policy, outcome, retries_done, ended_at, **(facts | other))


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (Outcome.ANSWERED, CallState.COMPLETED, "answered"),
        (Outcome.HUNG_UP_EARLY, CallState.COMPLETED, "hung up early"),
        (Outcome.REJECTED, CallState.FAILED, "the number does not take the call"),
        (Outcome.CANCELLED, CallState.CANCELLED, "cancelled"),
        (Outcome.VOICEMAIL, CallState.MISSED, "reached voicemail; the plan does not retry after that"),
    ],
)
def test_what_is_not_retried_closes_the_call(outcome: Outcome, state: CallState, reason: str) -> None:
    assert after(EVERY_TEN_MINUTES, outcome, 0, "2026-07-15 14:00") == Close(state, reason)


@pytest.mark.parametrize("outcome", [Outcome.BUSY, Outcome.NO_ANSWER, Outcome.FAILED, Outcome.DROPPED])
def test_what_nobody_decided_is_retried(outcome: Outcome) -> None:
    assert after(EVERY_TEN_MINUTES, outcome, 0, "2026-07-15 14:00") == RetryAt(utc("2026-07-15 14:10"))


@pytest.mark.parametrize(
    ("retries_done", "at"),
    [
        (0, "2026-07-15 14:30"),
        (1, "2026-07-16 14:00"),
        # The last wait repeats.
        (2, "2026-07-16 14:00"),
    ],
)
def test_each_retry_has_its_wait_and_the_last_repeats(retries_done: int, at: str) -> None:
    assert after(HALF_AN_HOUR_THEN_A_DAY, Outcome.BUSY, retries_done, "2026-07-15 14:00") == RetryAt(utc(at))


def test_three_retries_are_four_dials() -> None:
    last = after(EVERY_TEN_MINUTES, Outcome.NO_ANSWER, 3, "2026-07-15 14:00")
    assert last == Close(CallState.MISSED, "no answer after 4 dials; no retries are left")


def test_no_retries_is_one_dial() -> None:
    once = RetryPolicy(0, ())
    assert after(once, Outcome.BUSY, 0, "2026-07-15 14:00") == Close(CallState.MISSED, "busy after 1 dial; no retries are left")


@pytest.mark.parametrize(
    ("closes", "fits"),
    [
        ("2026-07-15 15:00", True),
        # A dial takes 90 seconds of ringing and margin: it must fit as a whole.
        ("2026-07-15 14:11:30", True),
        ("2026-07-15 14:11:29", False),
        ("2026-07-15 14:10", False),
        ("2026-07-15 14:05", False),
    ],
)
def test_a_retry_that_would_leave_its_window_is_not_made(closes: str, fits: bool) -> None:
    decision = after(EVERY_TEN_MINUTES, Outcome.NO_ANSWER, 0, "2026-07-15 14:00", closes_at=utc(closes))
    if fits:
        assert decision == RetryAt(utc("2026-07-15 14:10"))
    else:
        assert isinstance(decision, Close)
        assert decision.state is CallState.MISSED
        # 14:10 UTC is 10:10 in New York.
        assert decision.reason.startswith("no answer; the next retry, at 10:10:00, would not fit into the window, which closes at 10:")


def test_a_longer_ring_needs_more_of_the_window() -> None:
    close = utc("2026-07-15 14:12")
    assert isinstance(after(EVERY_TEN_MINUTES, Outcome.BUSY, 0, "2026-07-15 14:00", closes_at=close), RetryAt)
    longer = after(EVERY_TEN_MINUTES, Outcome.BUSY, 0, "2026-07-15 14:00", closes_at=close, dial_time=timedelta(seconds=180))
    assert isinstance(longer, Close)


def test_outside_permitted_hours_a_retry_waits_for_the_next_opening() -> None:
    # 20:45 in New York, half an hour on is 21:15: tomorrow at 08:00, which is 12:00 UTC.
    assert after(HALF_AN_HOUR_THEN_A_DAY, Outcome.BUSY, 0, "2026-07-16 00:45") == RetryAt(utc("2026-07-16 12:00"))


def test_a_retry_that_could_not_ring_to_its_end_waits_for_the_next_opening() -> None:
    # 20:59 in New York is permitted, but the phone would still ring after 21:00 or too near it.
    assert after(EVERY_TEN_MINUTES, Outcome.BUSY, 0, "2026-07-16 00:49") == RetryAt(utc("2026-07-16 12:00"))
    assert after(EVERY_TEN_MINUTES, Outcome.BUSY, 0, "2026-07-16 00:48:30") == RetryAt(utc("2026-07-16 00:58:30"))


def test_the_next_opening_is_by_the_clock_of_that_day() -> None:
    # Saturday 20:45 EDT; on Sunday the clocks have gone back, and 08:00 is 13:00 UTC.
    assert after(HALF_AN_HOUR_THEN_A_DAY, Outcome.BUSY, 0, "2026-11-01 00:45") == RetryAt(utc("2026-11-01 13:00"))


def test_a_window_reaching_past_permitted_hours_ends_with_them() -> None:
    # Window 19:00-23:00 in New York, the retry would be due at 21:05.
    decision = after(EVERY_TEN_MINUTES, Outcome.BUSY, 0, "2026-07-16 00:55", closes_at=utc("2026-07-16 03:00"))
    assert isinstance(decision, Close)
    assert decision.state is CallState.MISSED


def test_a_window_that_opens_before_permitted_hours_retries_when_they_begin() -> None:
    # Window 06:00-10:00 in New York, the retry would be due at 07:40.
    decision = after(EVERY_TEN_MINUTES, Outcome.BUSY, 0, "2026-07-15 11:30", closes_at=utc("2026-07-15 14:00"))
    assert decision == RetryAt(utc("2026-07-15 12:00"))


def test_an_attempt_settled_late_is_retried_now_and_not_in_the_past() -> None:
    decision = after(EVERY_TEN_MINUTES, Outcome.FAILED, 0, "2026-07-15 14:00", now=utc("2026-07-15 16:00"))
    assert decision == RetryAt(utc("2026-07-15 16:00"))


def test_a_plan_may_retry_after_voicemail_and_not_after_busy() -> None:
    policy = RetryPolicy(2, (timedelta(minutes=10),), outcomes_to_retry({"voicemail": True, "busy": False, "failed": False}))
    assert after(policy, Outcome.VOICEMAIL, 0, "2026-07-15 14:00") == RetryAt(utc("2026-07-15 14:10"))
    assert after(policy, Outcome.BUSY, 0, "2026-07-15 14:00") == Close(CallState.MISSED, "busy; the plan does not retry after that")
    failed = after(policy, Outcome.FAILED, 0, "2026-07-15 14:00")
    assert failed == Close(CallState.FAILED, "the call could not be connected; the plan does not retry after that")
    assert after(policy, Outcome.NO_ANSWER, 0, "2026-07-15 14:00") == RetryAt(utc("2026-07-15 14:10"))


def test_a_call_that_was_talked_on_is_not_missed_when_its_retries_run_out() -> None:
    policy = RetryPolicy(1, (timedelta(minutes=10),), outcomes_to_retry({"hung_up_early": True}))
    assert after(policy, Outcome.HUNG_UP_EARLY, 0, "2026-07-15 14:00") == RetryAt(utc("2026-07-15 14:10"))
    last = after(policy, Outcome.HUNG_UP_EARLY, 1, "2026-07-15 14:00")
    assert isinstance(last, Close)
    assert last.state is CallState.COMPLETED


@pytest.mark.parametrize("outcome", ["answered", "rejected", "cancelled"])
def test_no_plan_may_dial_over_a_decision(outcome: str) -> None:
    with pytest.raises(InvalidInput, match=f"outcome {outcome} is never retried"):
        outcomes_to_retry({outcome: True})
    with pytest.raises(InvalidInput, match=f"outcome {outcome} is never retried"):
        RetryPolicy(1, (timedelta(minutes=1),), DEFAULT_RETRY_ON | {Outcome(outcome)})


def test_an_unknown_outcome_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match="unknown outcome 'bussy'; there are answered, hung_up_early"):
        outcomes_to_retry({"bussy": True})


@pytest.mark.parametrize(
    ("max_retries", "waits", "complaint"),
    [
        (-1, (timedelta(minutes=1),), "must be 0 or more"),
        (1, (), "at least one interval"),
        (1, (timedelta(minutes=1), timedelta()), "longer than zero"),
        (1, (timedelta(minutes=-1),), "longer than zero"),
    ],
)
def test_a_policy_nobody_could_follow_is_refused(max_retries: int, waits: tuple[timedelta, ...], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        RetryPolicy(max_retries, waits)


def test_permitted_hours_too_short_for_a_dial_are_an_error_and_no_dial() -> None:
    with pytest.raises(InvalidInput, match="too short to dial in"):
        after(EVERY_TEN_MINUTES, Outcome.BUSY, 0, "2026-07-15 14:00", permitted=PermittedHours(time(8), time(8, 1)))


def test_naive_instants_are_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        after(EVERY_TEN_MINUTES, Outcome.BUSY, 0, "2026-07-15 14:00", now=datetime(2026, 7, 15, 14))  # noqa: DTZ001
