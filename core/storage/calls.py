"""Scheduled calls and their attempts: making, finding, showing, cancelling."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from core.domain.calls import FINAL_CALL_STATES, OPEN_ATTEMPT_STATUSES, CallState, Origin
from core.errors import Conflict, NotFound
from core.storage.candidates import SHOWN, ambiguous
from core.storage.database import Database, insert_or_ignore, new_id
from core.storage.runs import create_run, event_detail, lock_run, request_cancel
from core.storage.tables import Attempt, Contact, Conversation, JournalEntry, Run, RunEvent, ScheduledCall, Turn, Verdict

ENGAGEMENT = "engagement"
ENGAGEMENT_VERSION = "1"
ENGAGEMENT_QUEUE = "engagements"
# A line on which nothing has happened for so long is over, and the word of its end was lost.
QUIET_LINE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class AttemptView:
    id: str
    ordinal: int
    carrier: str
    mode: str
    status: str
    outcome: str | None
    reason: str | None
    carrier_call_id: str | None
    answered_by: str | None
    created_at: datetime
    ended_at: datetime | None
    resolved_by: str | None


@dataclass(frozen=True, slots=True)
class EventView:
    """What a call's run did, or what was done to it."""

    at: datetime
    kind: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class VerdictView:
    rule: str
    allowed: bool
    detail: str
    attempt_ordinal: int
    at: datetime


@dataclass(frozen=True, slots=True)
class CallView:
    id: str
    contact_id: str
    contact_name: str
    phone: str
    timezone: str
    origin: str
    plan: str
    state: str
    reason: str | None
    opens_at: datetime
    closes_at: datetime | None
    retry_count: int
    created_at: datetime
    attempts: tuple[AttemptView, ...]
    conversation_state: str | None
    journal_id: str | None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_CALL_STATES


def create_call(
    session: Session,
    *,
    contact: Contact,
    origin: Origin,
    origin_key: str,
    plan: str,
    opens_at: datetime,
    closes_at: datetime | None,
    now: datetime,
    window_id: str | None = None,
    opening_date: date | None = None,
    simulated: bool,
) -> str | None:
    """A scheduled call and the run that carries it, in this transaction. None: this intention exists already."""
    call_id = new_id()
    made = insert_or_ignore(
        session,
        ScheduledCall,
        {
            "id": call_id,
            "contact_id": contact.id,
            "origin": origin,
            "origin_key": origin_key,
            "window_id": window_id,
            "opening_date": opening_date,
            "opens_at": opens_at,
            "closes_at": closes_at,
            "plan": plan,
            "state": CallState.PENDING,
            "retry_count": 0,
            "simulated": simulated,
            "created_at": now,
            "updated_at": now,
        },
    )
    if not made:
        return None
    create_run(
        session,
        workflow=ENGAGEMENT,
        version=ENGAGEMENT_VERSION,
        queue=ENGAGEMENT_QUEUE,
        subject_id=call_id,
        position="initiate_call",
        now=now,
    )
    return call_id


def set_state(call: ScheduledCall, state: CallState, reason: str | None, now: datetime) -> None:
    call.state = state
    call.reason = reason
    call.updated_at = now


class CallStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def call_now(self, contact_id: str, plan: str, *, request_id: str, simulated: bool, closes_at: datetime | None, now: datetime) -> str:
        """A call outside any window. `request_id` makes a repeated request the same call. Raises Conflict when one is open."""
        with self._database.write() as session:
            # Locked, so that two requests at once do not both find no open call.
            contact = session.get_one(Contact, contact_id, with_for_update=True)
            open_call = session.scalars(
                select(ScheduledCall.id).where(ScheduledCall.contact_id == contact_id, ScheduledCall.state.not_in(FINAL_CALL_STATES))
            ).first()
            key = f"now:{request_id}"
            existing = session.scalars(select(ScheduledCall.id).where(ScheduledCall.origin_key == key)).first()
            if existing is not None:
                return existing
            if contact.paused_at is not None:
                # It would wait, and ring on the day somebody resumes the contact.
                raise Conflict(f"{contact.name} is paused; `orch contact resume {contact.id[:8]}` first")
            if open_call is not None:
                raise Conflict(f"{contact.name} has an open call already ({open_call[:8]}); see `orch call show {open_call[:8]}`")
            made = create_call(
                session,
                contact=contact,
                origin=Origin.NOW,
                origin_key=key,
                plan=plan,
                opens_at=now,
                closes_at=closes_at,
                now=now,
                simulated=simulated,
            )
            assert made is not None
            return made

    def cancel(self, call_id: str, now: datetime) -> None:
        """Ask for the end of a call: at once if it waits, through the carrier if it rings. Raises Conflict when it is over."""
        with self._database.write() as session:
            lock_run(session, call_id)
            call = session.get_one(ScheduledCall, call_id, with_for_update=True)
            if call.state in FINAL_CALL_STATES:
                raise Conflict(f"call {call_id[:8]} is over already ({call.state})")
            call.cancel_requested_at = call.cancel_requested_at or now
            call.updated_at = now
            request_cancel(session, call_id, now)

    def find(self, wanted: str) -> CallView:
        """By id or unambiguous prefix, of the call or of one of its attempts, or by carrier call id.

        Raises NotFound, or Conflict that lists which calls it could mean.
        """
        if not wanted:
            raise NotFound("no call was named; `orch call list` shows them")
        with self._database.read() as session:
            ids = set(session.scalars(select(ScheduledCall.id).where(ScheduledCall.id.startswith(wanted, autoescape=True))))
            if not ids:
                ids = set(
                    session.scalars(
                        select(Attempt.scheduled_call_id).where(
                            or_(Attempt.carrier_call_id == wanted, Attempt.id.startswith(wanted, autoescape=True))
                        )
                    )
                )
            if not ids:
                raise NotFound(f"no call {wanted!r}; `orch call list` shows them")
            if len(ids) > 1:
                some = self._views(session, ScheduledCall.id.in_(sorted(ids)[:SHOWN]), limit=SHOWN)
                shown = [f"{call.id[:8]} to {call.contact_name} of {call.created_at:%Y-%m-%d %H:%M} UTC" for call in some]
                raise Conflict(ambiguous(wanted, "calls", shown, more=len(ids) - len(shown)))
            return self._views(session, ScheduledCall.id.in_(ids), limit=1)[0]

    def recent(
        self, *, contact_id: str | None = None, states: Collection[str] | None = None, since: datetime | None = None, limit: int = 50
    ) -> list[CallView]:
        """Newest first. `since`: made at this instant or later."""
        conditions: list[ColumnElement[bool]] = []
        if contact_id is not None:
            conditions.append(ScheduledCall.contact_id == contact_id)
        if states:
            conditions.append(ScheduledCall.state.in_(states))
        if since is not None:
            conditions.append(ScheduledCall.created_at >= since)
        with self._database.read() as session:
            return self._views(session, *conditions, limit=limit)

    def by_ids(self, ids: Collection[str]) -> list[CallView]:
        with self._database.read() as session:
            return self._views(session, ScheduledCall.id.in_(ids), limit=len(ids))

    def for_contacts(self, contact_ids: Collection[str]) -> list[CallView]:
        with self._database.read() as session:
            return self._views(session, ScheduledCall.contact_id.in_(contact_ids), limit=1000)

    def verdicts(self, call_id: str) -> list[VerdictView]:
        with self._database.read() as session:
            rows = session.scalars(select(Verdict).where(Verdict.scheduled_call_id == call_id).order_by(Verdict.id)).all()
        return [VerdictView(row.rule, row.allowed, row.detail, row.attempt_ordinal, row.at) for row in rows]

    def events(self, call_id: str) -> list[EventView]:
        """What the call's run recorded, oldest first."""
        with self._database.read() as session:
            rows = session.scalars(
                select(RunEvent).join(Run, Run.id == RunEvent.run_id).where(Run.subject_id == call_id).order_by(RunEvent.id)
            ).all()
        return [EventView(row.at, row.kind, event_detail(self._database, row)) for row in rows]

    def live_attempts(self, now: datetime) -> int:
        """Attempts in which somebody may be talked to: picked up and not over, or still allowed to ring.

        One that is over and waits to be settled, or had to stop ringing, holds no line; nor does one on which nothing has happened for
        a while: waiting for a callback that was lost would keep a stop from ever ending.
        """
        since = now - QUIET_LINE
        spoke = (
            select(Turn.id)
            .join(Conversation, Conversation.id == Turn.conversation_id)
            .where(Conversation.attempt_id == Attempt.id, Turn.at > since)
            .exists()
        )
        answered = and_(
            Attempt.voice_served_at.is_not(None),
            or_(Attempt.voice_served_at > since, Attempt.stream_began_at > since, Attempt.document_at > since, spoke),
        )
        rings = and_(Attempt.voice_served_at.is_(None), Attempt.dial_until > now, Attempt.created_at > since)
        live = (Attempt.status.in_(OPEN_ATTEMPT_STATUSES), Attempt.ended_at.is_(None), or_(answered, rings))
        with self._database.read() as session:
            return session.scalar(select(func.count()).select_from(Attempt).where(*live)) or 0

    def _views(self, session: Session, *conditions: ColumnElement[bool], limit: int) -> list[CallView]:
        rows = session.execute(
            select(ScheduledCall, Contact)
            .join(Contact, Contact.id == ScheduledCall.contact_id)
            .where(*conditions)
            .order_by(ScheduledCall.created_at.desc(), ScheduledCall.id)
            .limit(limit)
        ).all()
        ids = [call.id for call, _ in rows]
        attempts: dict[str, list[AttemptView]] = {}
        for row in session.scalars(select(Attempt).where(Attempt.scheduled_call_id.in_(ids)).order_by(Attempt.ordinal)):
            attempts.setdefault(row.scheduled_call_id, []).append(
                AttemptView(
                    row.id,
                    row.ordinal,
                    row.carrier,
                    row.mode,
                    row.status,
                    row.outcome,
                    row.reason,
                    row.carrier_call_id,
                    row.answered_by,
                    row.created_at,
                    row.ended_at,
                    row.resolved_by,
                )
            )
        talks = dict(
            session.execute(
                select(Conversation.scheduled_call_id, Conversation.state)
                .where(Conversation.scheduled_call_id.in_(ids))
                .order_by(Conversation.started_at)
            ).all()
        )
        journals = dict(
            session.execute(
                select(JournalEntry.scheduled_call_id, JournalEntry.id)
                .where(JournalEntry.scheduled_call_id.in_(ids))
                .order_by(JournalEntry.created_at)
            ).all()
        )
        return [
            CallView(
                call.id,
                contact.id,
                contact.name,
                contact.phone,
                contact.timezone,
                call.origin,
                call.plan,
                call.state,
                call.reason,
                call.opens_at,
                call.closes_at,
                call.retry_count,
                call.created_at,
                tuple(attempts.get(call.id, ())),
                talks.get(call.id),
                journals.get(call.id),
            )
            for call, contact in rows
        ]
