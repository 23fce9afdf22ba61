"""Contacts, and the windows in which they may be called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from core.domain.windows import LocalWindow, mask_to_weekdays, next_occurrence, parse_time, tzdata_version, weekdays_to_mask, zone_of
from core.errors import Conflict, NotFound
from core.storage.database import Database, new_id
from core.storage.numbers import is_suppressed, suppress
from core.storage.tables import CallWindow, Contact
from core.storage.wakeup import raise_topic

WINDOWS_TOPIC = "windows"


@dataclass(frozen=True, slots=True)
class ContactView:
    id: str
    name: str
    phone: str
    timezone: str
    pronunciation: str | None
    plan: str | None
    active: bool
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

    def all(self) -> list[ContactView]:
        with self._database.read() as session:
            rows = session.scalars(select(Contact).where(Contact.active).order_by(Contact.name, Contact.id)).all()
            return [_view(session, row) for row in rows]

    def find(self, wanted: str) -> ContactView:
        """By id, unambiguous id prefix, number or name. Raises NotFound or Conflict."""
        if not wanted:
            raise NotFound("no contact was named; `orch contact list` shows them all")
        with self._database.read() as session:
            rows = session.scalars(
                select(Contact).where(
                    or_(
                        Contact.id.startswith(wanted, autoescape=True),
                        Contact.phone == wanted,
                        Contact.name.ilike(_literal(wanted), escape="\\"),
                    )
                )
            ).all()
            # "Ada" is a name before it is the beginning of somebody else's id.
            exact = [row for row in rows if wanted == row.id] or [
                row for row in rows if row.active and (wanted == row.phone or wanted.casefold() == row.name.casefold())
            ]
            chosen = exact or [row for row in rows if row.active] or list(rows)
            if not chosen:
                raise NotFound(f"no contact {wanted!r}; `orch contact list` shows them all")
            if len(chosen) > 1:
                ids = ", ".join(row.id[:8] for row in chosen[:5])
                raise Conflict(f"{wanted!r} fits {len(chosen)} contacts ({ids}); use an id")
            return _view(session, chosen[0])

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
        with self._database.write() as session:
            rows = session.scalars(
                select(CallWindow).where(CallWindow.id.startswith(wanted, autoescape=True), CallWindow.removed_at.is_(None))
            ).all()
            if not rows:
                raise NotFound(f"no window {wanted!r}; `orch window list` shows them all")
            if len(rows) > 1:
                raise Conflict(f"{wanted!r} fits {len(rows)} windows; give more of the id")
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


def _view(session: Session, row: Contact) -> ContactView:
    return ContactView(
        row.id,
        row.name,
        row.phone,
        row.timezone,
        row.pronunciation,
        row.plan,
        row.active,
        is_suppressed(session, row.phone),
        row.demo,
        row.created_at,
    )


def _window_view(row: CallWindow, contact: Contact) -> WindowView:
    return WindowView(row.id, contact.id, contact.name, contact.timezone, local_window(row), row.plan, row.next_opens_at)
