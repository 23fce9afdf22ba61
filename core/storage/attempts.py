"""Attempts: what a dial is judged on, the row written before its request, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from core.domain.calls import FINAL_CALL_STATES, OPEN_ATTEMPT_STATUSES, AttemptStatus, Origin, Unplaced
from core.domain.compliance import CARRIER_FAILURES, VerdictResult
from core.domain.outcomes import Outcome
from core.storage.control import ROW as CONTROL_ROW
from core.storage.control import lock_control
from core.storage.database import Database, insert_or_ignore, new_id
from core.storage.numbers import lock_number
from core.storage.runs import TOPIC, Owner
from core.storage.tables import (
    Attempt,
    CallWindow,
    Contact,
    Conversation,
    DialControl,
    Number,
    Run,
    ScheduledCall,
    Spool,
    StrayCall,
    Verdict,
)
from core.storage.wakeup import raise_topic

# Words that a media server on a lost machine never brings are not waited for longer than this.
WORDS_AWAITED = timedelta(days=1)
# A carrier that failed longer ago than this has had time to recover.
REQUESTS_LOOKED_AT = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class DialRows:
    """The locked rows a dial is decided on, in one transaction."""

    call: ScheduledCall
    contact: Contact
    window: CallWindow | None  # the one the call was born of
    control: DialControl
    number: Number
    attempts_7d: tuple[datetime, ...]  # of this number, whatever their origin; newest last
    open_attempt: Attempt | None  # of this number
    open_calls: int
    ordinal: int  # this dial's number within the call
    unsaved_since: datetime | None  # when the oldest talk with this number began whose words are not all in SQL
    failed_requests: tuple[datetime, ...]  # the newest dials of all, as long as the carrier took none of them; newest first
    request_under_way: bool  # to the carrier, for any number


def lock_dial(session: Session, call_id: str, now: datetime) -> DialRows:
    """Lock pause, number and counters, in this order everywhere, and read what the verdicts need."""
    call = session.get_one(ScheduledCall, call_id, with_for_update=True)
    contact = session.get_one(Contact, call.contact_id)
    control = lock_control(session)
    number = lock_number(session, contact.phone)
    return dial_rows(session, call, contact, control, number, now)


def dial_rows(session: Session, call: ScheduledCall, contact: Contact, control: DialControl, number: Number, now: datetime) -> DialRows:
    """What else the verdicts need, read for the rows given."""
    recent = session.scalars(
        select(Attempt.created_at)
        .where(
            Attempt.phone == contact.phone,
            Attempt.created_at > now - timedelta(days=7),
            # An attempt that ended without ever having a carrier's id was certainly not placed, unless a person says that it rang.
            or_(
                Attempt.status != AttemptStatus.ENDED,
                Attempt.carrier_call_id.is_not(None),
                and_(Attempt.resolved_by.is_not(None), Attempt.outcome != Outcome.FAILED),
            ),
        )
        .order_by(Attempt.created_at)
    ).all()
    open_attempt = session.scalars(select(Attempt).where(Attempt.phone == contact.phone, Attempt.status.in_(OPEN_ATTEMPT_STATUSES))).first()
    open_calls = count_open(session)
    last = session.scalar(select(func.max(Attempt.ordinal)).where(Attempt.scheduled_call_id == call.id)) or 0
    window = session.get(CallWindow, call.window_id) if call.window_id is not None else None
    return DialRows(
        call=call,
        contact=contact,
        window=window,
        control=control,
        number=number,
        attempts_7d=tuple(recent),
        open_attempt=open_attempt,
        open_calls=open_calls,
        ordinal=last + 1,
        unsaved_since=_unsaved_since(session, contact.phone, now),
        failed_requests=_failed_requests(session, now),
        request_under_way=_request_under_way(session, now),
    )


def _unsaved_since(session: Session, phone: str, now: datetime) -> datetime | None:
    return session.scalars(
        select(Attempt.stream_began_at)
        .outerjoin(Spool, Spool.id == Attempt.spool)
        .where(
            Attempt.phone == phone,
            Attempt.status == AttemptStatus.ENDED,
            Attempt.stream_began_at > now - WORDS_AWAITED,
            or_(Attempt.epoch_saved.is_(None), Attempt.epoch_saved < Attempt.stream_epoch),
            # A replay takes over what dead processes had left: this stream's too, if it began before.
            or_(Spool.replayed_at.is_(None), Spool.replayed_at < Attempt.stream_began_at),
        )
        .order_by(Attempt.stream_began_at)
        .limit(1)
    ).first()


def _failed_requests(session: Session, now: datetime) -> tuple[datetime, ...]:
    newest = session.execute(
        select(Attempt.created_at, Attempt.status, Attempt.unplaced)
        .where(Attempt.created_at > now - REQUESTS_LOOKED_AT, Attempt.status != AttemptStatus.DIALING)
        .order_by(Attempt.created_at.desc())
        .limit(CARRIER_FAILURES)
    ).all()
    failed = []
    for created_at, status, unplaced in newest:
        # A number that takes no calls, or a carrier that has too many of them just now, says nothing about its health.
        if status != AttemptStatus.UNKNOWN and unplaced not in (Unplaced.OPERATOR, Unplaced.UNREACHED):
            break
        failed.append(created_at)
    return tuple(failed)


def _request_under_way(session: Session, now: datetime) -> bool:
    sent = select(Attempt.id).where(Attempt.status == AttemptStatus.DIALING, Attempt.created_at > now - timedelta(minutes=1)).limit(1)
    return session.scalars(sent).first() is not None


def read_dial(session: Session, contact_id: str, plan: str, simulated: bool, now: datetime) -> DialRows:
    """What a call to this contact, made now and outside any window, would be judged on. Nothing is locked, and nothing written.

    Rows that a dial would make first are stood in for by new ones that no session knows.
    """
    contact = session.get_one(Contact, contact_id)
    call = ScheduledCall(id=new_id(), contact_id=contact_id, origin=Origin.NOW, plan=plan, opens_at=now, simulated=simulated)
    control = session.get(DialControl, CONTROL_ROW) or DialControl(id=CONTROL_ROW)
    number = session.get(Number, contact.phone) or Number(phone=contact.phone)
    return dial_rows(session, call, contact, control, number, now)


def count_open(session: Session) -> int:
    """Attempts that may hold a line. One that a closed call left unknown blocks its number, but holds none."""
    return (
        session.scalar(
            select(func.count())
            .select_from(Attempt)
            .join(ScheduledCall, ScheduledCall.id == Attempt.scheduled_call_id)
            .where(
                Attempt.status.in_(OPEN_ATTEMPT_STATUSES),
                or_(Attempt.status != AttemptStatus.UNKNOWN, ScheduledCall.state.not_in(FINAL_CALL_STATES)),
            )
        )
        or 0
    )


def begin_attempt(
    session: Session,
    rows: DialRows,
    run: Run,
    owner: Owner,
    *,
    carrier: str,
    account: str,
    mode: str,
    now: datetime,
    send_before: datetime,
    dial_until: datetime,
) -> Attempt:
    """The attempt's row, committed before its request is sent: an attempt nobody wrote down could ring twice."""
    attempt = Attempt(
        id=new_id(),
        scheduled_call_id=rows.call.id,
        run_id=run.id,
        contact_id=rows.contact.id,
        phone=rows.contact.phone,
        ordinal=rows.ordinal,
        carrier=carrier,
        account=account,
        mode=mode,
        status=AttemptStatus.DIALING,
        owner_boot=f"{owner.host}|{owner.boot_id}",
        owner_pid=owner.pid,
        owner_started=owner.started,
        created_at=now,
        send_before=send_before,
        dial_until=dial_until,
        stream_epoch=0,
    )
    session.add(attempt)
    session.flush()
    return attempt


def owner_of(attempt: Attempt) -> Owner:
    host, _, boot_id = attempt.owner_boot.partition("|")
    return Owner(host, boot_id, attempt.owner_pid, attempt.owner_started)


def store_verdicts(session: Session, rows: DialRows, verdicts: Sequence[VerdictResult], now: datetime) -> None:
    """Keep the verdicts whose answer is new for this call."""
    latest = dict(
        session.execute(select(Verdict.rule, Verdict.allowed).where(Verdict.scheduled_call_id == rows.call.id).order_by(Verdict.id)).all()
    )
    for verdict in verdicts:
        if latest.get(verdict.rule) == verdict.allowed:
            continue
        session.add(
            Verdict(
                contact_id=rows.contact.id,
                scheduled_call_id=rows.call.id,
                attempt_ordinal=rows.ordinal,
                rule=verdict.rule,
                allowed=verdict.allowed,
                detail=verdict.detail,
                inputs=dict(verdict.inputs),
                at=now,
            )
        )


def lock_attempt(session: Session, attempt_id: str) -> Attempt | None:
    """The attempt, locked after its run: whoever locks both does so in this order, as the run's own steps do."""
    session.execute(select(Run.id).join(Attempt, Attempt.run_id == Run.id).where(Attempt.id == attempt_id).with_for_update(of=Run))
    return session.scalars(select(Attempt).where(Attempt.id == attempt_id).with_for_update()).first()


def latest_attempt(session: Session, call_id: str) -> Attempt | None:
    return session.scalars(
        select(Attempt).where(Attempt.scheduled_call_id == call_id).order_by(Attempt.ordinal.desc()).limit(1).with_for_update()
    ).first()


def unplaced_since(session: Session, attempt: Attempt) -> datetime:
    """Since when a call's dials have rung nobody: the first of those that end with `attempt`."""
    rang = (
        select(func.max(Attempt.ordinal))
        .where(Attempt.scheduled_call_id == attempt.scheduled_call_id, Attempt.unplaced.is_(None))
        .scalar_subquery()
    )
    first = session.scalar(
        select(func.min(Attempt.created_at)).where(
            Attempt.scheduled_call_id == attempt.scheduled_call_id, Attempt.ordinal > func.coalesce(rang, 0)
        )
    )
    return first or attempt.created_at


def successor(session: Session, attempt: Attempt) -> Attempt | None:
    """What took the place of an attempt that was given up: a later one of its call, or an open one at the same number."""
    later = and_(Attempt.scheduled_call_id == attempt.scheduled_call_id, Attempt.ordinal > attempt.ordinal)
    open_ = and_(Attempt.phone == attempt.phone, Attempt.id != attempt.id, Attempt.status.in_(OPEN_ATTEMPT_STATUSES))
    rows = session.scalars(select(Attempt).where(or_(later, open_)).order_by(Attempt.created_at.desc())).all()
    return next((row for row in rows if row.status in OPEN_ATTEMPT_STATUSES), rows[0] if rows else None)


def conversation_of(session: Session, attempt_id: str) -> Conversation | None:
    return session.scalars(select(Conversation).where(Conversation.attempt_id == attempt_id).with_for_update()).first()


def call_of(session: Session, call_id: str) -> ScheduledCall:
    return session.get_one(ScheduledCall, call_id, with_for_update=True)


def contact_of(session: Session, contact_id: str) -> Contact:
    return session.get_one(Contact, contact_id)


def open_attempt_ids(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Attempt.id).where(Attempt.status.in_(OPEN_ATTEMPT_STATUSES)).order_by(Attempt.created_at)))


def unanswered_attempt_ids(database: Database) -> list[str]:
    """Attempts whose phone may be ringing, or is about to."""
    waiting = (AttemptStatus.DIALING, AttemptStatus.QUEUED, AttemptStatus.RINGING)
    with database.read() as session:
        return list(session.scalars(select(Attempt.id).where(Attempt.status.in_(waiting)).order_by(Attempt.created_at)))


def read_attempt(database: Database, attempt_id: str) -> Attempt | None:
    with database.read() as session:
        return session.get(Attempt, attempt_id)


def known_carrier_ids(database: Database, phone: str) -> frozenset[str]:
    """Carrier call ids that belong to attempts at this number."""
    with database.read() as session:
        rows = session.scalars(select(Attempt.carrier_call_id).where(Attempt.phone == phone, Attempt.carrier_call_id.is_not(None))).all()
        stray = session.scalars(
            select(StrayCall.carrier_call_id).join(Attempt, Attempt.id == StrayCall.attempt_id).where(Attempt.phone == phone)
        ).all()
        return frozenset(row for row in (*rows, *stray) if row is not None)


def add_stray(session: Session, attempt: Attempt, carrier_call_id: str, *, over: bool, now: datetime) -> None:
    """A carrier's call that must not go on: kept until it has been hung up. `over`: the carrier says that it has ended."""
    insert_or_ignore(session, StrayCall, {"carrier_call_id": carrier_call_id, "attempt_id": attempt.id, "found_at": now})
    if over:
        end_stray(session, carrier_call_id, now)
    raise_topic(session, TOPIC)


def end_stray(session: Session, carrier_call_id: str, now: datetime) -> None:
    session.execute(
        update(StrayCall).where(StrayCall.carrier_call_id == carrier_call_id, StrayCall.ended_at.is_(None)).values(ended_at=now)
    )


def strays(database: Database, account: str) -> list[tuple[str, str]]:
    """Attempt and carrier call id of every stray call of this carrier account that has not ended."""
    with database.read() as session:
        rows = session.execute(
            select(StrayCall.attempt_id, StrayCall.carrier_call_id)
            .join(Attempt, Attempt.id == StrayCall.attempt_id)
            .where(StrayCall.ended_at.is_(None), or_(Attempt.account.is_(None), Attempt.account == account))
        ).all()
    return [(attempt_id, carrier_call_id) for attempt_id, carrier_call_id in rows]
