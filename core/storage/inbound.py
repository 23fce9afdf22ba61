"""Calls that people made to us: who rang, whom they were ringing back, and whether they asked for no more calls."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.domain.calls import FINAL_CALL_STATES
from core.storage.database import Database, insert_or_ignore, new_id
from core.storage.numbers import is_suppressed, suppress
from core.storage.runs import add_event, add_signal
from core.storage.tables import Attempt, Contact, InboundCall, ScheduledCall

SIGNAL = "inbound"
OPT_OUT_SOURCE = "inbound call"


@dataclass(frozen=True, slots=True)
class RungBack:
    """What is known about a number that rings us. The ids are None when we did not ring it."""

    suppressed: bool
    contact_id: str | None = None
    attempt_id: str | None = None
    plan: str | None = None


@dataclass(frozen=True, slots=True)
class InboundView:
    id: str
    carrier_call_id: str
    phone: str | None
    contact_id: str | None
    contact_name: str | None
    attempt_id: str | None
    received_at: datetime
    answered_at: datetime | None
    opted_out_at: datetime | None
    ended_at: datetime | None


class InboundStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def rung_back(self, phone: str, since: datetime) -> RungBack:
        """Read-only: the voice webhook answers from this alone."""
        with self._database.read() as session:
            suppressed = is_suppressed(session, phone)
            attempt = _latest_attempt(session, phone, since)
            if attempt is None:
                return RungBack(suppressed)
            plan = session.get_one(ScheduledCall, attempt.scheduled_call_id).plan
            return RungBack(suppressed, attempt.contact_id, attempt.id, plan)

    def answered(self, carrier_call_id: str, phone: str | None, since: datetime, now: datetime) -> None:
        """We answered: the call is kept once, and the engagements that wait for this number hear of it."""
        with self._database.write() as session:
            row = self._row(session, carrier_call_id, phone, since, now)
            row.answered_at = row.answered_at or now

    def opted_out(self, carrier_call_id: str, phone: str, since: datetime, now: datetime) -> None:
        """The caller asked for no more calls: the number is never dialled again, and its call tells why, in one transaction."""
        with self._database.write() as session:
            # The runs before the number, as every dial locks them.
            row = self._row(session, carrier_call_id, phone, since, now)
            row.answered_at = row.answered_at or now
            if row.opted_out_at is None:
                # Once: a webhook that is repeated a year later must not undo what was agreed on since.
                row.opted_out_at = now
                suppress(session, phone, OPT_OUT_SOURCE, now)

    def ended(self, carrier_call_id: str, phone: str | None, since: datetime, now: datetime) -> None:
        """The carrier says that the call is over, whether we had answered it or not."""
        with self._database.write() as session:
            row = self._row(session, carrier_call_id, phone, since, now)
            row.ended_at = row.ended_at or now

    def recent(self, limit: int = 50) -> list[InboundView]:
        """The newest first."""
        query = select(InboundCall, Contact.name).outerjoin(Contact, Contact.id == InboundCall.contact_id)
        with self._database.read() as session:
            rows = session.execute(query.order_by(InboundCall.received_at.desc(), InboundCall.id).limit(limit)).all()
        return [
            InboundView(
                row.id,
                row.carrier_call_id,
                row.phone,
                row.contact_id,
                name,
                row.attempt_id,
                row.received_at,
                row.answered_at,
                row.opted_out_at,
                row.ended_at,
            )
            for row, name in rows
        ]

    def _row(self, session: Session, carrier_call_id: str, phone: str | None, since: datetime, now: datetime) -> InboundCall:
        """The call's row, locked; made by whichever webhook comes first."""
        attempt = _latest_attempt(session, phone, since) if phone is not None else None
        made = insert_or_ignore(
            session,
            InboundCall,
            {
                "id": new_id(),
                "carrier_call_id": carrier_call_id,
                "phone": phone,
                "contact_id": attempt.contact_id if attempt is not None else None,
                "attempt_id": attempt.id if attempt is not None else None,
                "received_at": now,
            },
        )
        if made and phone is not None:
            self._signal(session, carrier_call_id, phone, now)
        return session.scalars(select(InboundCall).where(InboundCall.carrier_call_id == carrier_call_id).with_for_update()).one()

    def _signal(self, session: Session, carrier_call_id: str, phone: str, now: datetime) -> None:
        attempts = session.scalars(
            select(Attempt)
            .join(ScheduledCall, ScheduledCall.id == Attempt.scheduled_call_id)
            .where(Attempt.phone == phone, ScheduledCall.state.not_in(FINAL_CALL_STATES))
            .order_by(Attempt.created_at)
        ).all()
        # An engagement has several attempts: it is told once, of the newest.
        for run_id, attempt_id in {attempt.run_id: attempt.id for attempt in attempts}.items():
            add_signal(
                session,
                run_id=run_id,
                attempt_id=attempt_id,
                source="webhook:inbound",
                external_id=f"{carrier_call_id}:{run_id}",
                kind=SIGNAL,
                payload={"carrier_call_id": carrier_call_id},
                now=now,
            )
            add_event(self._database, session, run_id, "rang_back", {"carrier_call_id": carrier_call_id}, now)


def _latest_attempt(session: Session, phone: str, since: datetime) -> Attempt | None:
    """The newest dial to this number that the carrier took: one that was never placed rang nobody."""
    placed = (Attempt.phone == phone, Attempt.created_at >= since, Attempt.carrier_call_id.is_not(None))
    return session.scalars(select(Attempt).where(*placed).order_by(Attempt.created_at.desc()).limit(1)).first()
