"""Phone numbers: the row every dial and every suppression of a number locks."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.domain.calls import OPEN_ATTEMPT_STATUSES
from core.storage.database import insert_or_ignore
from core.storage.runs import wake_run
from core.storage.tables import Attempt, Number, Run


def lock_number(session: Session, phone: str) -> Number:
    """The number's row, made if need be, held until this transaction ends."""
    insert_or_ignore(session, Number, {"phone": phone})
    return session.scalars(select(Number).where(Number.phone == phone).with_for_update()).one()


def suppress(session: Session, phone: str, source: str, now: datetime) -> None:
    """Never call this number again. Runs with a call open to it are woken, so that a ringing phone stops."""
    # Runs before numbers, as everywhere; and locked, so that one which is about to wait sees that it must not.
    open_runs = select(Attempt.run_id).where(Attempt.phone == phone, Attempt.status.in_(OPEN_ATTEMPT_STATUSES))
    woken = session.scalars(select(Run.id).where(Run.id.in_(open_runs)).order_by(Run.id).with_for_update()).all()
    number = lock_number(session, phone)
    if number.do_not_call_at is None:
        number.do_not_call_at = now
        number.do_not_call_source = source
    for run_id in woken:
        wake_run(session, run_id, now)


def is_suppressed(session: Session, phone: str) -> bool:
    number = session.get(Number, phone)
    return number is not None and number.do_not_call_at is not None
