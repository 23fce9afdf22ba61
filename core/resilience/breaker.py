"""A circuit breaker: a service that fails again and again is left alone for a while, and then tried with one request.

Pure arithmetic: the state is a value, handed in and given back, so it may live in memory or in a table. `now` is in seconds on
any clock that does not run backwards.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """`failures` within `span_seconds` open the breaker for `open_seconds`; each trial that fails doubles that, up to `longest_seconds`.

    A trial that never reports back counts as failed after `trial_seconds`.
    """

    failures: int = 3
    span_seconds: float = 60.0
    open_seconds: float = 15.0
    longest_seconds: float = 240.0
    trial_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.failures < 1 or min(self.span_seconds, self.open_seconds, self.trial_seconds) <= 0:
            raise ValueError("a breaker needs at least one failure and times above zero")


@dataclass(frozen=True, slots=True)
class BreakerState:
    """The default is a closed breaker: requests pass."""

    failed_at: tuple[float, ...] = ()
    open_until: float | None = None
    opened: int = 0  # times in a row, without a success between
    trial_until: float | None = None

    @property
    def closed(self) -> bool:
        return self.open_until is None


CLOSED = BreakerState()


def admitted(state: BreakerState, rules: BreakerRules, now: float) -> tuple[bool, BreakerState]:
    """May a request be sent? Once the breaker has been open long enough, one may: the trial."""
    if state.open_until is None:
        return True, state
    if now < state.open_until or (state.trial_until is not None and now < state.trial_until):
        return False, state
    return True, _with_trial(state, now + rules.trial_seconds)


def after_success(state: BreakerState, now: float) -> BreakerState:
    """A success while the breaker is open is of a request older than that, and proves nothing."""
    if state.open_until is not None and now < state.open_until:
        return state
    return CLOSED


def after_failure(state: BreakerState, rules: BreakerRules, now: float) -> BreakerState:
    if state.open_until is not None:
        # Requests sent before it opened may still come to grief; only the trial's failure is news.
        return state if now < state.open_until else _opened(state, rules, now)
    recent = (*(at for at in state.failed_at if at > now - rules.span_seconds), now)
    if len(recent) >= rules.failures:
        return _opened(state, rules, now)
    return BreakerState(failed_at=recent)


def _opened(state: BreakerState, rules: BreakerRules, now: float) -> BreakerState:
    seconds = min(rules.open_seconds * 2 ** min(state.opened, 30), rules.longest_seconds)
    return BreakerState(open_until=now + seconds, opened=state.opened + 1)


def _with_trial(state: BreakerState, until: float) -> BreakerState:
    return BreakerState(state.failed_at, state.open_until, state.opened, until)
