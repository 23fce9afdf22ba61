from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.resilience.breaker import CLOSED, BreakerRules, BreakerState, admitted, after_failure, after_success

RULES = BreakerRules(failures=3, span_seconds=60, open_seconds=10, longest_seconds=35, trial_seconds=5)


def failed(state: BreakerState, *times: float) -> BreakerState:
    for now in times:
        state = after_failure(state, RULES, now)
    return state


def may_send(state: BreakerState, now: float) -> bool:
    return admitted(state, RULES, now)[0]


def test_requests_pass_until_enough_of_them_failed() -> None:
    assert may_send(failed(CLOSED, 1, 2), 3)
    assert not may_send(failed(CLOSED, 1, 2, 3), 3)


def test_failures_far_apart_do_not_add_up() -> None:
    assert may_send(failed(CLOSED, 0, 1, 61.5), 62)
    assert not may_send(failed(CLOSED, 1, 2, 60.5), 62)


def test_a_success_wipes_the_failures() -> None:
    state = after_success(failed(CLOSED, 1, 2), 3)
    assert may_send(failed(state, 4, 5), 6)


def test_after_the_pause_one_request_is_the_trial() -> None:
    state = failed(CLOSED, 1, 2, 3)
    assert not may_send(state, 12.9)
    sent, state = admitted(state, RULES, 13)
    assert sent
    assert not may_send(state, 14)
    assert may_send(after_success(state, 14), 14)


def test_a_trial_that_fails_opens_for_twice_as_long_up_to_a_limit() -> None:
    state = failed(CLOSED, 1, 2, 3)
    _, state = admitted(state, RULES, 13)
    state = failed(state, 14)
    assert not may_send(state, 33.9)
    assert may_send(state, 34)
    state = failed(admitted(state, RULES, 34)[1], 34)
    assert not may_send(state, 68.9)
    assert may_send(state, 69)


def test_a_trial_that_never_reports_back_is_followed_by_another() -> None:
    _, state = admitted(failed(CLOSED, 1, 2, 3), RULES, 13)
    assert not may_send(state, 17.9)
    assert may_send(state, 18)


def test_what_was_sent_before_it_opened_neither_closes_it_nor_keeps_it_open() -> None:
    state = failed(CLOSED, 1, 2, 3)
    assert after_success(state, 5) == state
    assert failed(state, 5, 6, 7) == state


def test_a_recovered_service_starts_anew() -> None:
    state = failed(CLOSED, 1, 2, 3)
    _, state = admitted(state, RULES, 13)
    state = after_success(state, 14)
    assert state == CLOSED
    assert failed(state, 20, 21, 22).open_until == 32


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"span_seconds": 0}, {"open_seconds": -1}, {"trial_seconds": 0}])
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="breaker"):
        BreakerRules(**wrong)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.floats(0.01, 30), st.booleans()), max_size=60))
def test_it_never_stays_shut_for_longer_than_its_limit(steps: list[tuple[float, bool]]) -> None:
    state, now, refused_since = CLOSED, 0.0, None
    for wait, works in steps:
        now += wait
        sent, state = admitted(state, RULES, now)
        if sent:
            refused_since = None
            state = after_success(state, now) if works else after_failure(state, RULES, now)
        else:
            refused_since = refused_since or now
            assert now - refused_since <= RULES.longest_seconds
    assert len(state.failed_at) < RULES.failures
