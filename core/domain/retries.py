"""After an attempt has ended: try again, and when, or close the scheduled call, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from core.clock import require_utc
from core.domain.calls import CallState
from core.domain.outcomes import Outcome
from core.domain.permitted import DEFAULT_DIAL_TIME, PermittedHours
from core.errors import InvalidInput

DEFAULT_RETRY_ON = frozenset({Outcome.BUSY, Outcome.NO_ANSWER, Outcome.FAILED, Outcome.DROPPED})
# A conversation held, a number that will never take the call, and a person's decision: no plan may dial over these.
NEVER_RETRIED = frozenset({Outcome.ANSWERED, Outcome.REJECTED, Outcome.CANCELLED})

_WORDS = {
    Outcome.VOICEMAIL: "reached voicemail",
    Outcome.BUSY: "busy",
    Outcome.NO_ANSWER: "no answer",
    Outcome.FAILED: "the call could not be connected",
    Outcome.DROPPED: "the call was cut off",
    Outcome.HUNG_UP_EARLY: "hung up early",
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`max_retries` counts retries: 3 means four dials at most. `waits` lie before each retry; the last one repeats.

    Raises InvalidInput for a policy that could not be followed, or that retries what must never be retried.
    """

    max_retries: int
    waits: tuple[timedelta, ...]
    retry_on: frozenset[Outcome] = DEFAULT_RETRY_ON

    def __post_init__(self) -> None:
        if self.max_retries < 0:
            raise InvalidInput(f"max_retries {self.max_retries} is not allowed; it must be 0 or more")
        if self.max_retries and not self.waits:
            raise InvalidInput("retries need at least one interval to wait before them")
        if any(wait <= timedelta() for wait in self.waits):
            raise InvalidInput("retry intervals must be longer than zero")
        if forbidden := self.retry_on & NEVER_RETRIED:
            raise InvalidInput(f"outcome {', '.join(sorted(forbidden))} is never retried, whatever the plan says")

    def wait_before(self, retry: int) -> timedelta:
        """How long to wait before retry number `retry` (1 is the first)."""
        return self.waits[min(retry, len(self.waits)) - 1]


@dataclass(frozen=True, slots=True)
class RetryAt:
    at: datetime


@dataclass(frozen=True, slots=True)
class Close:
    state: CallState
    reason: str


def outcomes_to_retry(overrides: Mapping[str, bool] | Mapping[Outcome, bool]) -> frozenset[Outcome]:
    """The default outcomes with a plan's own answers laid over them, by outcome name. Raises InvalidInput."""
    known = {outcome.value: outcome for outcome in Outcome}
    for name in overrides:
        if name not in known:
            raise InvalidInput(f"unknown outcome {name!r}; there are {', '.join(known)}")
    wanted = {known[name] for name, retry in overrides.items() if retry}
    if forbidden := wanted & NEVER_RETRIED:
        raise InvalidInput(f"outcome {', '.join(sorted(forbidden))} is never retried, whatever the plan says")
    return (DEFAULT_RETRY_ON | wanted) - {known[name] for name, retry in overrides.items() if not retry}


def decide(
    policy: RetryPolicy,
    outcome: Outcome,
    retries_done: int,
    ended_at: datetime,
    now: datetime,
    closes_at: datetime | None,
    permitted: PermittedHours,
    zone: ZoneInfo,
    *,
    dial_time: timedelta = DEFAULT_DIAL_TIME,
) -> RetryAt | Close:
    """What follows an attempt that ended at `ended_at` with `outcome`.

    `closes_at` is the end of the occurrence a window-born call belongs to: a retry that could not ring to its end before
    then closes the call as missed. Calls without one (None) retry over days, inside permitted hours. `dial_time` is what
    a dial takes at least: ringing, and the margin before a close.
    """
    ended_at, now = require_utc(ended_at, "ended_at"), require_utc(now, "now")
    settled = _settled(policy, outcome, retries_done)
    if settled is not None:
        return settled
    # An attempt can be settled long after it ended: the wait may be over already.
    wanted = max(ended_at + policy.wait_before(retries_done + 1), now)
    at = permitted.next_permitted(zone, wanted, lasting=dial_time)
    if closes_at is not None and at + dial_time > require_utc(closes_at, "closes_at"):
        retry, close = at.astimezone(zone), closes_at.astimezone(zone)
        beyond = f"the next retry, at {retry:%H:%M:%S}, would not fit into the window, which closes at {close:%H:%M} ({zone.key})"
        return Close(CallState.MISSED, f"{_WORDS[outcome]}; {beyond}")
    return RetryAt(at)


def _settled(policy: RetryPolicy, outcome: Outcome, retries_done: int) -> Close | None:
    """How the call closes without another dial; None if it is to be retried."""
    match outcome:
        case Outcome.ANSWERED:
            return Close(CallState.COMPLETED, "answered")
        case Outcome.REJECTED:
            return Close(CallState.FAILED, "the number does not take the call")
        case Outcome.CANCELLED:
            return Close(CallState.CANCELLED, "cancelled")
    if outcome not in policy.retry_on:
        if outcome is Outcome.HUNG_UP_EARLY:
            return Close(CallState.COMPLETED, "hung up early")
        state = CallState.FAILED if outcome in {Outcome.FAILED, Outcome.DROPPED} else CallState.MISSED
        return Close(state, f"{_WORDS[outcome]}; the plan does not retry after that")
    if retries_done >= policy.max_retries:
        # Somebody who hung up has been talked to: running out of retries does not make that a missed call.
        state = CallState.COMPLETED if outcome is Outcome.HUNG_UP_EARLY else CallState.MISSED
        dials = retries_done + 1
        return Close(state, f"{_WORDS[outcome]} after {dials} dial{'s' if dials > 1 else ''}; no retries are left")
    return None
