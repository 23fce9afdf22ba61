"""Contacts, and the windows in which they may be called."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import func, insert, or_, select
from sqlalchemy.orm import Session

from core.domain.runs import ENDED_RUN_STATES
from core.domain.windows import LocalWindow, mask_to_weekdays, next_occurrence, parse_time, tzdata_version, weekdays_to_mask, zone_of
from core.errors import Conflict, NotFound
from core.logs import mask_phone
from core.storage.candidates import ambiguous
from core.storage.database import Database, new_id
from core.storage.numbers import is_suppressed, suppress
from core.storage.runs import wake_run
from core.storage.tables import CallWindow, Contact, Number, Run, ScheduledCall
from core.storage.wakeup import raise_topic

WINDOWS_TOPIC = "windows"

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ContactView:
    id: str
    name: str
    phone: str
    timezone: str
    pronunciation: str | None
    plan: str | None
    active: bool
    paused_at: datetime | None
    paused_reason: str | None
    do_not_call: bool
    demo: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class WindowView:
    id: str
    contact_id: str
    contact_name: str
    timezone: str
    window: LocalWindow
    plan: str | None
    next_opens_at: datetime | None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A checked contact on its way in, with its recurring window if it has one."""

    name: str
    phone: str
    timezone: str
    pronunciation: str | None
    plan: str | None
    window: LocalWindow | None


class ContactStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        *,
        name: str,
        phone: str,
        timezone: str,
        pronunciation: str | None,
        plan: str | None,
        simulated: bool,
        now: datetime,
        demo: str | None = None,
    ) -> str:
        """Store a checked contact. Raises Conflict if the same person is there already."""
        with self._database.write() as session:
            twin = session.scalars(select(Contact).where(Contact.phone == phone, Contact.name == name, Contact.active)).first()
            if twin is not None:
                raise Conflict(f"{name} with this number is a contact already ({twin.id}); see `orch contact show {twin.id}`")
            contact = Contact(
                id=new_id(),
                name=name,
                phone=phone,
                timezone=timezone,
                pronunciation=pronunciation,
                plan=plan,
                active=True,
                simulated=simulated,
                demo=demo,
                created_at=now,
                updated_at=now,
            )
            session.add(contact)
        return contact.id

    def holders(self, phones: Sequence[str]) -> dict[str, str]:
        """Whose each of these numbers is already, by number: a name and the beginning of an id."""
        with self._database.read() as session:
            return _holders(session, phones)

    def count_suppressed(self, phones: Sequence[str]) -> int:
        """How many of these numbers asked not to be called."""
        with self._database.read() as session:
            found = (
                session.scalar(select(func.count()).select_from(Number).where(Number.phone.in_(some), Number.do_not_call_at.is_not(None)))
                for some in _in_parts(phones)
            )
            return sum(count or 0 for count in found)

    def add_all(self, arrivals: Sequence[Arrival], *, simulated: bool, now: datetime) -> list[str]:
        """Store checked contacts and their windows, all in one transaction. Returns their ids, in order.

        Raises Conflict, and stores nothing, if a number among them is somebody's by now.
        """
        ids = [new_id() for _ in arrivals]
        opening = lru_cache(maxsize=4096)(lambda window, zone: next_occurrence(window, zone_of(zone), now))
        windows = []
        for contact_id, arrival in zip(ids, arrivals, strict=True):
            if arrival.window is None or arrival.window.weekdays is None:
                continue
            occurrence = opening(arrival.window, arrival.timezone)
            windows.append(
                {
                    "id": new_id(),
                    "contact_id": contact_id,
                    "weekdays": weekdays_to_mask(arrival.window.weekdays),
                    "start": f"{arrival.window.start:%H:%M}",
                    "end": f"{arrival.window.end:%H:%M}",
                    "created_at": now,
                    "tzdata_version": tzdata_version(),
                    "scheduled_since": now,
                    "next_opens_at": occurrence.opens_at if occurrence else None,
                }
            )
        people = [
            {
                "id": contact_id,
                "name": arrival.name,
                "phone": arrival.phone,
                "timezone": arrival.timezone,
                "pronunciation": arrival.pronunciation,
                "plan": arrival.plan,
                "active": True,
                "simulated": simulated,
                "created_at": now,
                "updated_at": now,
            }
            for contact_id, arrival in zip(ids, arrivals, strict=True)
        ]
        with self._database.write() as session:
            taken = _holders(session, [arrival.phone for arrival in arrivals])
            if taken:
                raise Conflict(f"{next(iter(taken.values()))} has one of these numbers since a moment ago; nothing was stored, try again")
            session.execute(insert(Contact), people)
            if windows:
                session.execute(insert(CallWindow), windows)
                raise_topic(session, WINDOWS_TOPIC)
        return ids

    def demo_runs(self) -> int:
        """How many demonstrations there have been."""
        with self._database.read() as session:
            return session.scalar(select(func.count(Contact.demo.distinct()))) or 0

    def retire_demo(self, now: datetime) -> int:
        """Take the people of earlier demos out of use. Their calls and journal stay."""
        with self._database.write() as session:
            rows = session.scalars(select(Contact).where(Contact.demo.is_not(None), Contact.active)).all()
            for row in rows:
                row.active = False
                row.updated_at = now
            return len(rows)

    def move(self, contact_id: str, timezone: str, now: datetime) -> None:
        """The contact lives in another zone now: every window opens by the new local time."""
        with self._database.write() as session:
            contact = session.get(Contact, contact_id, with_for_update=True)
            if contact is None:
                raise NotFound(f"no contact {contact_id}")
            contact.timezone = timezone
            contact.updated_at = now
            for row in session.scalars(select(CallWindow).where(CallWindow.contact_id == contact_id, CallWindow.removed_at.is_(None))):
                reschedule(row, timezone, now)
            raise_topic(session, WINDOWS_TOPIC)

    def suppress(self, phone: str, source: str, now: datetime) -> None:
        """Do not call this number again, whoever's it is."""
        with self._database.write() as session:
            suppress(session, phone, source, now)

    def pause(self, contact_id: str, reason: str | None, now: datetime) -> bool:
        """Do not call this contact until further notice: a phone that rings stops ringing. False: paused already."""
        with self._database.write() as session:
            runs = _lock_runs(session, contact_id)
            contact = session.get_one(Contact, contact_id, with_for_update=True)
            if contact.paused_at is not None:
                return False
            contact.paused_at = contact.updated_at = now
            contact.paused_reason = reason
            for run_id in runs:
                wake_run(session, run_id, now)
        return True

    def resume(self, contact_id: str, now: datetime) -> bool:
        """Call this contact again; what waits goes on. False: it was not paused."""
        with self._database.write() as session:
            runs = _lock_runs(session, contact_id)
            contact = session.get_one(Contact, contact_id, with_for_update=True)
            if contact.paused_at is None:
                return False
            contact.paused_at = contact.paused_reason = None
            contact.updated_at = now
            for run_id in runs:
                wake_run(session, run_id, now)
        return True

    def all(self) -> list[ContactView]:
        with self._database.read() as session:
            rows = session.scalars(select(Contact).where(Contact.active).order_by(Contact.name, Contact.id)).all()
            suppressed = set(session.scalars(select(Number.phone).where(Number.do_not_call_at.is_not(None))))
            return [_view(row, row.phone in suppressed) for row in rows]

    def find(self, wanted: str) -> ContactView:
        """By id, unambiguous id prefix, number or name. Raises NotFound, or Conflict that lists whom it could mean."""
        wanted = " ".join(unicodedata.normalize("NFC", wanted).split())
        phone = re.sub(r"[^+0-9]", "", wanted) if wanted.startswith("+") else wanted
        if not wanted:
            raise NotFound("no contact was named; `orch contact list` shows them all")
        with self._database.read() as session:
            rows = session.scalars(
                select(Contact).where(
                    or_(
                        Contact.id.startswith(wanted, autoescape=True),
                        Contact.phone == phone,
                        Contact.name.ilike(_literal(wanted), escape="\\"),
                    )
                )
            ).all()
            # "Ada" is a name before it is the beginning of somebody else's id.
            exact = [row for row in rows if wanted == row.id] or [
                row for row in rows if row.active and (phone == row.phone or wanted.casefold() == row.name.casefold())
            ]
            chosen = exact or [row for row in rows if row.active] or list(rows)
            if not chosen:
                raise NotFound(f"no contact {wanted!r}; `orch contact list` shows them all")
            if len(chosen) > 1:
                raise Conflict(ambiguous(wanted, "contacts", [f"{row.id[:8]} {row.name} {mask_phone(row.phone)}" for row in chosen]))
            return _view(chosen[0], is_suppressed(session, chosen[0].phone))

    def add_window(self, contact_id: str, window: LocalWindow, plan: str | None, now: datetime) -> WindowView:
        """Store a checked window. One that is open now is served now; one that can never open again is refused."""
        with self._database.write() as session:
            contact = session.get_one(Contact, contact_id)
            row = CallWindow(
                id=new_id(),
                contact_id=contact_id,
                weekdays=weekdays_to_mask(window.weekdays) if window.weekdays is not None else None,
                on_date=window.on_date,
                start=f"{window.start:%H:%M}",
                end=f"{window.end:%H:%M}",
                plan=plan,
                created_at=now,
                tzdata_version=tzdata_version(),
                scheduled_since=now,
            )
            reschedule(row, contact.timezone, now)
            if row.next_opens_at is None:
                raise Conflict(
                    f"this window is over already: {window.on_date} {row.end} has passed in {contact.timezone} ({now:%Y-%m-%d %H:%M} UTC)"
                )
            same = session.scalars(
                select(CallWindow.id).where(
                    CallWindow.contact_id == contact_id,
                    CallWindow.removed_at.is_(None),
                    CallWindow.next_opens_at.is_not(None),
                    CallWindow.start == row.start,
                    CallWindow.end == row.end,
                    CallWindow.weekdays.is_(None) if row.weekdays is None else CallWindow.weekdays == row.weekdays,
                    CallWindow.on_date.is_(None) if row.on_date is None else CallWindow.on_date == row.on_date,
                )
            ).first()
            if same is not None:
                raise Conflict(f"{contact.name} has this window already ({same[:8]})")
            session.add(row)
            raise_topic(session, WINDOWS_TOPIC)
            return _window_view(row, contact)

    def remove_window(self, wanted: str, now: datetime) -> WindowView:
        """By id or unambiguous prefix. Calls it has opened go on."""
        if not wanted:
            raise NotFound("no window was named; `orch window list` shows them all")
        with self._database.write() as session:
            rows = session.scalars(
                select(CallWindow).where(CallWindow.id.startswith(wanted, autoescape=True), CallWindow.removed_at.is_(None))
            ).all()
            if not rows:
                raise NotFound(f"no window {wanted!r}; `orch window list` shows them all")
            if len(rows) > 1:
                raise Conflict(ambiguous(wanted, "windows", [f"{row.id[:8]} {local_window(row)}" for row in rows]))
            row = rows[0]
            row.removed_at = now
            row.next_opens_at = None
            return _window_view(row, session.get_one(Contact, row.contact_id))

    def windows(self, contact_id: str | None = None) -> list[WindowView]:
        query = (
            select(CallWindow, Contact)
            .join(Contact, Contact.id == CallWindow.contact_id)
            .where(CallWindow.removed_at.is_(None), Contact.active)
        )
        if contact_id is not None:
            query = query.where(CallWindow.contact_id == contact_id)
        with self._database.read() as session:
            rows: Any = session.execute(query.order_by(Contact.name, CallWindow.start)).all()
        return [_window_view(window, contact) for window, contact in rows]


def local_window(row: CallWindow) -> LocalWindow:
    weekdays = mask_to_weekdays(row.weekdays) if row.weekdays is not None else None
    return LocalWindow(weekdays, row.on_date, parse_time(row.start), parse_time(row.end))


def reschedule(row: CallWindow, timezone: str, after: datetime, *, including_open: bool = True) -> None:
    """Set when the window opens next, counting from `after`; None for a one-off that is over."""
    occurrence = next_occurrence(local_window(row), zone_of(timezone), after, including_open=including_open)
    row.next_opens_at = occurrence.opens_at if occurrence else None
    row.scheduled_since = after
    row.tzdata_version = tzdata_version()


def _literal(text: str) -> str:
    """`text` for LIKE, meaning itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _holders(session: Session, phones: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for some in _in_parts(phones):
        rows = session.execute(select(Contact.phone, Contact.name, Contact.id).where(Contact.phone.in_(some), Contact.active))
        found.update({phone: f"{name} ({contact_id[:8]})" for phone, name, contact_id in rows})
    return found


def _in_parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """So many that no database refuses as parameters of one statement."""
    return (items[start : start + 500] for start in range(0, len(items), 500))


def _lock_runs(session: Session, contact_id: str) -> Sequence[str]:
    """The contact's runs that have not ended, locked before the contact as a dial's own steps lock them.

    A step under way then either sees the change, or has let go of its run and can be woken.
    """
    return session.scalars(
        select(Run.id)
        .join(ScheduledCall, ScheduledCall.id == Run.subject_id)
        .where(ScheduledCall.contact_id == contact_id, Run.state.not_in(ENDED_RUN_STATES))
        .order_by(Run.id)
        .with_for_update(of=Run)
    ).all()


def _view(row: Contact, do_not_call: bool) -> ContactView:
    return ContactView(
        row.id,
        row.name,
        row.phone,
        row.timezone,
        row.pronunciation,
        row.plan,
        row.active,
        row.paused_at,
        row.paused_reason,
        do_not_call,
        row.demo,
        row.created_at,
    )


def _window_view(row: CallWindow, contact: Contact) -> WindowView:
    return WindowView(row.id, contact.id, contact.name, contact.timezone, local_window(row), row.plan, row.next_opens_at)
