"""What a dial is judged on, from the rows and the settings.

The dialler builds it of locked rows and a preview of rows merely read, so that both are judged on the same facts. Nothing
here writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from core.domain.compliance import CLOSING_MARGIN, DialFacts, PermittedHours
from core.domain.windows import Occurrence, occurrence_on, zone_of
from core.errors import InvalidInput
from core.storage.attempts import DialRows
from core.storage.contacts import local_window


@dataclass(frozen=True, slots=True)
class DialRules:
    """The settings a dial is judged by, and the addresses its carrier is given."""

    carrier: str
    carrier_is_real: bool
    mode: str
    dial_only: tuple[str, ...]
    countries: tuple[str, ...]
    permitted_from: time
    permitted_until: time
    per_day: int
    per_week: int
    min_gap: timedelta
    max_concurrent: int
    per_second: float
    ring_seconds: int
    max_call_seconds: int
    public_url: str

    @property
    def permitted(self) -> PermittedHours:
        return PermittedHours(self.permitted_from, self.permitted_until)

    @property
    def spacing(self) -> timedelta:
        """The least time between two dials."""
        return timedelta(seconds=1 / self.per_second)

    @property
    def dial_time(self) -> timedelta:
        """What a dial takes at least before a close."""
        return timedelta(seconds=self.ring_seconds) + CLOSING_MARGIN


def dial_facts(rows: DialRows, rules: DialRules, now: datetime) -> DialFacts:
    """Everything the rules look at, for a dial at `now`."""
    call = rows.call
    day_ago = now - timedelta(days=1)
    occurrence = None
    if call.closes_at is not None:
        occurrence = _still_open(rows, Occurrence(call.opening_date or call.opens_at.date(), call.opens_at, call.closes_at))
    return DialFacts(
        now=now,
        paused_reason=(rows.control.paused_reason or "paused") if rows.control.paused_at is not None else None,
        dial_only=rules.dial_only,
        carrier_is_real=rules.carrier_is_real,
        carrier_name=rules.carrier,
        contact_active=rows.contact.active,
        contact_paused=(rows.contact.paused_reason or "") if rows.contact.paused_at is not None else None,
        contact_simulated=rows.contact.simulated,
        call_simulated=call.simulated,
        phone=rows.contact.phone,
        countries=rules.countries,
        do_not_call_at=rows.number.do_not_call_at,
        zone=rows.contact.timezone,
        occurrence=occurrence,
        permitted=rules.permitted,
        ring_seconds=rules.ring_seconds,
        expected_queue_seconds=_expected_queue(rows, now),
        attempts_24h=tuple(at for at in rows.attempts_7d if at > day_ago),
        attempts_7d=rows.attempts_7d,
        per_day=rules.per_day,
        per_week=rules.per_week,
        min_gap=rules.min_gap,
        open_attempt=rows.open_attempt.status if rows.open_attempt is not None else None,
        unsaved_since=rows.unsaved_since,
        public_url_problem=_public_url_problem(rows),
        failed_requests=rows.failed_requests,
        request_under_way=rows.request_under_way,
        clock_skew_seconds=rows.control.clock_skew_seconds,
        open_calls=rows.open_calls,
        max_concurrent=rules.max_concurrent,
        next_slot_at=_place(rows, rules, now),
        cancel_requested=call.cancel_requested_at is not None,
    )


def has_lost_its_place(rows: DialRows, rules: DialRules, now: datetime) -> bool:
    """The call's place in the queue of dials went by during a pause or a stall: it gets a new one."""
    return rows.call.slot_at is not None and not _holds_its_place(rows, rules, now) and _is_too_early(rows, rules, now)


def _public_url_problem(rows: DialRows) -> str | None:
    if rows.control.public_url_checked_at is None:
        return "it was never tried"
    return rows.control.public_url_problem


def _expected_queue(rows: DialRows, now: datetime) -> float:
    """The carrier's queue as it was when it last took a call, less the time in which it got shorter."""
    seconds, seen_at = rows.control.carrier_queue_seconds, rows.control.carrier_queue_at
    if seconds is None or seen_at is None:
        return 0.0
    return max(0.0, seconds - max(0.0, (now - seen_at).total_seconds()))


def _place(rows: DialRows, rules: DialRules, now: datetime) -> datetime | None:
    if _holds_its_place(rows, rules, now):
        # Its own place: held for it until it comes, and used up by this dial.
        return rows.call.slot_at
    slot = rows.control.next_slot_at
    last = rows.control.last_dial_at
    if last is not None and _is_too_early(rows, rules, now):
        # Places that went by during a pause or a stall would all be used at once: the second one to come gets a new place.
        return max(slot or now, last + rules.spacing)
    return slot


def _holds_its_place(rows: DialRows, rules: DialRules, now: datetime) -> bool:
    slot, last = rows.call.slot_at, rows.control.last_dial_at
    return slot is not None and (slot > now or last is None or now >= last + rules.spacing / 2)


def _is_too_early(rows: DialRows, rules: DialRules, now: datetime) -> bool:
    last = rows.control.last_dial_at
    return last is not None and last + rules.spacing > now


def _still_open(rows: DialRows, promised: Occurrence) -> Occurrence:
    """The occurrence the call was born of, cut to the hours the window has now: its contact may live in another zone since."""
    if rows.window is None or rows.call.opening_date is None:
        return promised
    try:
        today = occurrence_on(local_window(rows.window), zone_of(rows.contact.timezone), rows.call.opening_date)
    except InvalidInput:
        # The time-zone rule says what is wrong.
        return promised
    opens = max(promised.opens_at, today.opens_at) if today is not None else promised.closes_at
    closes = min(promised.closes_at, today.closes_at) if today is not None else promised.closes_at
    if opens >= closes:
        # Nothing is left of it: an occurrence that closes as it opens.
        return Occurrence(promised.opening_date, promised.opens_at, promised.opens_at + timedelta(microseconds=1))
    return Occurrence(promised.opening_date, opens, closes)
