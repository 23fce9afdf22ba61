"""May we dial? Every rule judges every dial, fails closed, and says what it saw.

The rules run in one order, which is also the order in which a person is told what stands in the way. A rule that cannot
tell (an unknown zone, a number that cannot be read, a skew that is not a number) blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from core.clock import require_utc
from core.domain.contacts import country_of, parse_phone
from core.domain.permitted import CLOSING_MARGIN, MAX_CLOCK_SKEW, PermittedHours, window_possible
from core.domain.windows import Occurrence, zone_of
from core.errors import InvalidInput

__all__ = [
    "CARRIER_FAILURES",
    "CLOSING_MARGIN",
    "MAX_CLOCK_SKEW",
    "RULES",
    "DialFacts",
    "Judgement",
    "PermittedHours",
    "VerdictResult",
    "dial_until",
    "judge",
    "window_possible",
]

# So many dials in a row that the carrier did not take open its breaker, for so long.
CARRIER_FAILURES = 3
CARRIER_REST = timedelta(seconds=60)
# Nothing tells when this changes: look again.
_LOOK_AGAIN = timedelta(seconds=5)
_REPLAY_TAKES = timedelta(seconds=60)
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class DialFacts:
    """Everything one dial is judged on, read in the transaction that would write the attempt down.

    Attempts are those at the phone number, whatever their origin; extra, older ones do no harm. Raises ValueError for a
    naive datetime.
    """

    now: datetime
    paused_reason: str | None  # None: not paused; an empty text is a pause without a reason
    cancel_requested: bool
    dial_only: Collection[str]
    carrier_name: str
    carrier_is_real: bool
    contact_active: bool
    contact_paused: str | None = None  # why; an empty text is a pause without a reason
    contact_simulated: bool  # made under the simulator, as is the call below
    call_simulated: bool
    phone: str
    countries: Collection[str]
    do_not_call_at: datetime | None
    zone: str  # IANA name
    occurrence: Occurrence | None  # None: not born of a window
    permitted: PermittedHours
    ring_seconds: float
    expected_queue_seconds: float  # at the carrier, before it rings
    attempts_24h: Sequence[datetime]
    attempts_7d: Sequence[datetime]
    last_attempt_at: datetime | None = None  # the newest of the two above counts as well
    per_day: int
    per_week: int
    min_gap: timedelta
    open_attempt: str | None  # status of an attempt at this number that is not over
    unsaved_since: datetime | None = None  # an earlier talk with this number began then, and not all its words are in SQL
    public_url_problem: str | None  # why the carrier's webhooks would not reach us; None: they do
    failed_requests: Sequence[datetime] = ()  # the newest dials, newest first, as long as the carrier took none of them
    request_under_way: bool = False  # to the carrier, for any number
    clock_skew_seconds: float | None  # the carrier's clock minus ours; None: no answer of the carrier has been seen yet
    open_calls: int
    max_concurrent: int
    next_slot_at: datetime | None
    per_second: float | None = None  # only reported

    def __post_init__(self) -> None:
        for instant in (
            *(self.now, self.last_attempt_at, self.next_slot_at, self.unsaved_since),
            *(*self.attempts_24h, *self.attempts_7d, *self.failed_requests),
        ):
            if instant is not None:
                require_utc(instant, "instant of a dial's facts")

    @property
    def answered_at(self) -> datetime:
        """When the contact is expected to pick up, at the latest, if we dialled now."""
        return self.now + timedelta(seconds=self.expected_queue_seconds + self.ring_seconds)

    @property
    def attempts(self) -> list[datetime]:
        return sorted({*self.attempts_24h, *self.attempts_7d})


@dataclass(frozen=True, slots=True)
class VerdictResult:
    """One rule's answer. `inputs` is JSON-able and holds no phone number; `wake_at`: when asking again makes sense."""

    rule: str
    allowed: bool
    detail: str
    inputs: dict[str, Any] = field(default_factory=dict)
    wake_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """All verdicts, in the order of the rules, and what follows from them.

    `never`: no waiting would help this call, so it is not kept waiting, even while dialling is paused. `wait`: ask again
    at `blocking.wake_at`; None means that something else has to happen first (a resume, another call's end).
    `blocking` is the first verdict of the kind that decides.
    """

    verdicts: tuple[VerdictResult, ...]
    blocking: VerdictResult | None
    kind: Literal["allowed", "wait", "never"]


@dataclass(frozen=True, slots=True)
class _Answer:
    allowed: bool
    detail: str
    inputs: dict[str, Any] = field(default_factory=dict)
    wake_at: datetime | None = None
    final: bool = False  # waiting does not help


def judge(facts: DialFacts) -> Judgement:
    """Put the dial before every rule. All are evaluated, so that the record shows everything that stands in the way."""
    answers = [(name, rule(facts)) for name, rule in _RULES]
    verdicts = tuple(VerdictResult(name, a.allowed, a.detail, a.inputs, a.wake_at) for name, a in answers)
    blocked = [(verdict, answer.final) for verdict, (_, answer) in zip(verdicts, answers, strict=True) if not verdict.allowed]
    for verdict, final in blocked:
        if final:
            return Judgement(verdicts, verdict, "never")
    if blocked:
        return Judgement(verdicts, blocked[0][0], "wait")
    return Judgement(verdicts, None, "allowed")


def dial_until(facts: DialFacts) -> datetime:
    """When a call that is still unanswered must be cancelled: the window's or the permitted hours' end, less the margin.

    Ringing time is not taken off again: a dial is allowed only if it can ring to its end before this instant, so that
    nobody's phone is silenced in the first second. Answers `now` where nothing is permitted.
    """
    try:
        ends = [facts.permitted.permitted_until(zone_of(facts.zone), facts.now) or facts.now]
    except InvalidInput:
        return facts.now
    if facts.occurrence is not None:
        ends.append(facts.occurrence.closes_at)
    return max(min(ends) - CLOSING_MARGIN, facts.now)


def _kill_switch(facts: DialFacts) -> _Answer:
    if facts.paused_reason is not None:
        why = f": {facts.paused_reason}" if facts.paused_reason else ""
        return _Answer(False, f"dialling is paused{why}", {"reason": facts.paused_reason})
    return _Answer(True, "dialling is not paused")


def _cancel(facts: DialFacts) -> _Answer:
    if facts.cancel_requested:
        return _Answer(False, "the call was cancelled", final=True)
    return _Answer(True, "the call is not cancelled")


def _allow_list(facts: DialFacts) -> _Answer:
    # People write numbers into a setting with spaces and hyphens.
    listed = {re.sub(r"[^+0-9]", "", number) for number in facts.dial_only}
    inputs = {"listed": len(listed), "carrier_is_real": facts.carrier_is_real}
    if not listed and facts.carrier_is_real:
        return _Answer(False, "ORCH_DIAL_ONLY is empty, and a real carrier may dial only the numbers it names", inputs, final=True)
    if listed and facts.phone not in listed:
        return _Answer(False, "the number is not one of ORCH_DIAL_ONLY", inputs, final=True)
    return _Answer(
        True, "the number is one of ORCH_DIAL_ONLY" if listed else "the simulator rings nobody, and ORCH_DIAL_ONLY is empty", inputs
    )


def _contact(facts: DialFacts) -> _Answer:
    inputs: dict[str, Any] = {"active": facts.contact_active, "countries": sorted(facts.countries)}
    if not facts.contact_active:
        return _Answer(False, "the contact is not active", inputs, final=True)
    try:
        if parse_phone(facts.phone, facts.countries) != facts.phone:
            return _Answer(False, "the phone number is not stored in E.164 form", inputs, final=True)
        inputs["country"] = country_of(facts.phone)
    except InvalidInput as error:
        return _Answer(False, str(error), inputs, final=True)
    if facts.contact_paused is not None:
        why = f": {facts.contact_paused}" if facts.contact_paused else ""
        return _Answer(False, f"the contact is paused{why}", inputs | {"paused": True})
    return _Answer(True, f"active, with a number in {inputs['country']}", inputs)


def _do_not_call(facts: DialFacts) -> _Answer:
    if facts.do_not_call_at is not None:
        return _Answer(False, f"do not call, since {_utc(facts.do_not_call_at)}", {"since": _stamp(facts.do_not_call_at)}, final=True)
    return _Answer(True, "nobody asked not to be called at this number")


def _timezone(facts: DialFacts) -> _Answer:
    inputs = {"zone": facts.zone}
    try:
        zone_of(facts.zone)
    except InvalidInput as error:
        return _Answer(False, str(error), inputs, final=True)
    return _Answer(True, f"time zone {facts.zone}", inputs)


def _window(facts: DialFacts) -> _Answer:
    occurrence = facts.occurrence
    if occurrence is None:
        return _Answer(True, "the call is not bound to a window")
    inputs = {
        "opens_at": _stamp(occurrence.opens_at),
        "closes_at": _stamp(occurrence.closes_at),
        "now": _stamp(facts.now),
        "answered_at": _stamp(facts.answered_at),
    }
    if facts.now < occurrence.opens_at:
        return _Answer(False, f"the window opens at {_local(facts, occurrence.opens_at)}", inputs, occurrence.opens_at)
    if facts.now >= occurrence.closes_at:
        return _Answer(False, f"the window closed at {_local(facts, occurrence.closes_at)}", inputs, final=True)
    closes = f"the window closes at {_local(facts, occurrence.closes_at)}"
    last_answer = occurrence.closes_at - CLOSING_MARGIN
    if facts.now + timedelta(seconds=facts.ring_seconds) > last_answer:
        return _Answer(False, f"{closes}, too soon for the phone to ring before it", inputs, final=True)
    if not facts.answered_at <= last_answer:
        # The carrier's queue may get shorter while the window is still open.
        return _Answer(False, f"{closes}, before the carrier's queue would let the phone ring", inputs)
    return _Answer(True, closes, inputs)


def _permitted_hours(facts: DialFacts) -> _Answer:
    permitted = facts.permitted
    inputs = {"permitted": str(permitted), "now": _stamp(facts.now), "answered_at": _stamp(facts.answered_at)}
    try:
        zone = zone_of(facts.zone)
        dial_time = facts.answered_at - facts.now + CLOSING_MARGIN
        until = permitted.permitted_until(zone, facts.now)
        if until is not None and facts.now + dial_time <= until:
            return _Answer(True, f"{_clock(zone, facts.now)} is within {permitted} local time", inputs)
        wake_at = permitted.next_permitted(zone, facts.now, lasting=dial_time)
    except InvalidInput as error:
        return _Answer(False, str(error), inputs, final=True)
    if until is not None:
        return _Answer(
            False, f"it is {_clock(zone, facts.now)}, and {permitted} local time ends before the phone would be answered", inputs, wake_at
        )
    return _Answer(False, f"it is {_clock(zone, facts.now)}, and only {permitted} local time is permitted", inputs, wake_at)


def _caps_day(facts: DialFacts) -> _Answer:
    return _cap(facts, facts.per_day, _DAY, "24 hours", "ORCH_ATTEMPTS_PER_DAY")


def _caps_week(facts: DialFacts) -> _Answer:
    return _cap(facts, facts.per_week, _WEEK, "7 days", "ORCH_ATTEMPTS_PER_WEEK")


def _cap(facts: DialFacts, limit: int, span: timedelta, words: str, setting: str) -> _Answer:
    counted = [at for at in facts.attempts if at > facts.now - span]
    detail = f"{len(counted)} of {limit} attempts at this number in {words}"
    inputs = {"attempts": len(counted), "limit": limit}
    if len(counted) < limit:
        return _Answer(True, detail, inputs)
    if limit < 1:
        return _Answer(False, f"{detail} ({setting})", inputs, final=True)
    # One more is allowed once all but limit - 1 of them are older than the span.
    return _Answer(False, f"{detail} ({setting})", inputs, counted[len(counted) - limit] + span)


def _min_gap(facts: DialFacts) -> _Answer:
    known = [*facts.attempts, *([facts.last_attempt_at] if facts.last_attempt_at is not None else [])]
    inputs: dict[str, Any] = {"min_gap_seconds": facts.min_gap.total_seconds()}
    if not known:
        return _Answer(True, "no earlier attempt at this number", inputs)
    last = max(known)
    inputs["last_attempt_at"] = _stamp(last)
    detail = f"the last attempt at this number was at {_local(facts, last)}"
    if facts.now < last + facts.min_gap:
        return _Answer(
            False, f"{detail}; the least gap is {facts.min_gap.total_seconds():.0f} s (ORCH_MIN_GAP_SECONDS)", inputs, last + facts.min_gap
        )
    return _Answer(True, detail, inputs)


def _open_attempt(facts: DialFacts) -> _Answer:
    inputs = {"status": facts.open_attempt}
    if facts.open_attempt is not None:
        return _Answer(False, f"an attempt at this number is not over ({facts.open_attempt})", inputs)
    return _Answer(True, "no attempt at this number is open", inputs)


def _last_words(facts: DialFacts) -> _Answer:
    """Whoever said "stop calling me" as the media server died has said it: only a replay of its spool can tell."""
    since = facts.unsaved_since
    if since is not None:
        detail = (
            f"what was said in the call of {_local(facts, since)} is not all in the database yet: the media-server that heard it must run"
        )
        return _Answer(False, detail, {"since": _stamp(since)}, facts.now + _REPLAY_TAKES)
    return _Answer(True, "everything said at this number is in the database")


def _public_url(facts: DialFacts) -> _Answer:
    if facts.public_url_problem is not None:
        why = f"our public URL cannot be reached: {facts.public_url_problem} (ORCH_PUBLIC_URL)"
        return _Answer(False, why, {"problem": facts.public_url_problem}, facts.now + _LOOK_AGAIN)
    return _Answer(True, "our public URL answers")


def _carrier_health(facts: DialFacts) -> _Answer:
    """A breaker: a carrier that takes no call is asked once a minute, not once a call."""
    inputs: dict[str, Any] = {"failed_requests": len(facts.failed_requests), "limit": CARRIER_FAILURES}
    if len(facts.failed_requests) < CARRIER_FAILURES:
        return _Answer(True, "the carrier takes calls", inputs)
    again = facts.failed_requests[0] + CARRIER_REST
    detail = f"the carrier took none of the last {len(facts.failed_requests)} calls"
    if facts.now < again:
        return _Answer(False, f"{detail}; it is tried again at {_utc(again, seconds=True)}", inputs, again)
    if facts.request_under_way:
        return _Answer(False, f"{detail}; one is being tried", inputs, facts.now + _LOOK_AGAIN)
    return _Answer(True, f"{detail}; this one tries it again", inputs)


def _carrier(facts: DialFacts) -> _Answer:
    inputs = {
        "carrier": facts.carrier_name,
        "carrier_is_real": facts.carrier_is_real,
        "contact_simulated": facts.contact_simulated,
        "call_simulated": facts.call_simulated,
    }
    if facts.carrier_is_real and (facts.contact_simulated or facts.call_simulated):
        made = "contact" if facts.contact_simulated else "call"
        return _Answer(
            False, f"the {made} was made under the simulator, and {facts.carrier_name} would ring a real phone", inputs, final=True
        )
    if not facts.carrier_is_real and not (facts.contact_simulated and facts.call_simulated):
        made = "call" if facts.contact_simulated else "contact"
        return _Answer(False, f"the {made} is for a real phone, and carrier {facts.carrier_name} rings none", inputs, final=True)
    return _Answer(True, f"carrier {facts.carrier_name}", inputs)


def _clock_skew(facts: DialFacts) -> _Answer:
    limit = MAX_CLOCK_SKEW.total_seconds()
    skew = facts.clock_skew_seconds
    inputs = {"limit_seconds": limit, "skew_seconds": None if skew is None else round(skew, 3) if abs(skew) < 1e9 else str(skew)}
    if skew is None:
        # A carrier's clock is seen in its first answer; blocking until then would block for ever.
        return _Answer(True, "the carrier's clock has not been seen yet", inputs)
    if abs(skew) <= limit:
        return _Answer(True, f"our clock and the carrier's differ by {abs(skew):.1f} s", inputs)
    return _Answer(
        False, f"our clock and the carrier's differ by {abs(skew):.0f} s, more than {limit:.0f} s; set this machine's clock", inputs
    )


def _concurrency(facts: DialFacts) -> _Answer:
    detail = f"{facts.open_calls} of {facts.max_concurrent} calls are open"
    inputs = {"open_calls": facts.open_calls, "limit": facts.max_concurrent}
    if facts.open_calls < facts.max_concurrent:
        return _Answer(True, detail, inputs)
    return _Answer(False, f"{detail} (ORCH_MAX_CONCURRENT_CALLS)", inputs)


def _rate(facts: DialFacts) -> _Answer:
    inputs = {"next_slot_at": _stamp(facts.next_slot_at) if facts.next_slot_at else None, "per_second": facts.per_second}
    if facts.next_slot_at is not None and facts.next_slot_at > facts.now:
        return _Answer(False, "its place in the queue has not come (ORCH_CALLS_PER_SECOND)", inputs, facts.next_slot_at)
    return _Answer(True, "its place in the queue has come", inputs)


_RULES: tuple[tuple[str, Callable[[DialFacts], _Answer]], ...] = (
    ("kill_switch", _kill_switch),
    ("cancel", _cancel),
    ("allow_list", _allow_list),
    ("contact", _contact),
    ("do_not_call", _do_not_call),
    ("timezone", _timezone),
    ("window", _window),
    ("permitted_hours", _permitted_hours),
    ("caps_day", _caps_day),
    ("caps_week", _caps_week),
    ("min_gap", _min_gap),
    ("open_attempt", _open_attempt),
    ("last_words", _last_words),
    ("public_url", _public_url),
    ("carrier", _carrier),
    ("carrier_health", _carrier_health),
    ("clock", _clock_skew),
    ("concurrency", _concurrency),
    ("rate", _rate),
)
RULES = tuple(name for name, _ in _RULES)


def _stamp(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds")


def _utc(instant: datetime, *, seconds: bool = False) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC" if seconds else f"{instant:%Y-%m-%d %H:%M} UTC"


def _clock(zone: ZoneInfo, instant: datetime) -> str:
    return f"{instant.astimezone(zone):%H:%M} ({zone.key})"


def _local(facts: DialFacts, instant: datetime) -> str:
    """An instant as the contact's clock shows it; in UTC where nobody knows their zone."""
    try:
        return f"{instant.astimezone(zone_of(facts.zone)):%Y-%m-%d %H:%M} ({facts.zone})"
    except InvalidInput:
        return _utc(instant)
