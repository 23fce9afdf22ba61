"""Journal entries: sealed, written at settlement, searched by metadata only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, true
from sqlalchemy.orm import Session

from core.errors import Conflict, NotFound
from core.storage.candidates import ambiguous
from core.storage.database import Database, new_id, upsert
from core.storage.tables import Contact, Conversation, JournalEntry

BATCH = 200


@dataclass(frozen=True, slots=True)
class JournalView:
    id: str
    contact_id: str
    contact_name: str
    scheduled_call_id: str
    plan: str
    complete: bool
    created_at: datetime
    body: dict[str, Any]
    timezone: str  # the contact's


class JournalStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def write_in(self, session: Session, conversation: Conversation, body: dict[str, Any], complete: bool, now: datetime) -> None:
        """The conversation's one entry, in the settlement's transaction. Words that come after it replace what it says."""
        sealed = self._database.seal(body, _context(conversation.id))
        upsert(
            session,
            JournalEntry,
            {
                "id": new_id(),
                "conversation_id": conversation.id,
                "scheduled_call_id": conversation.scheduled_call_id,
                "contact_id": conversation.contact_id,
                "plan": conversation.plan,
                "complete": complete,
                "body_sealed": sealed,
                "created_at": now,
            },
            "conversation_id",
            {"complete": complete, "body_sealed": sealed},
        )

    def recent(self, *, contact_id: str | None = None, limit: int = 50) -> list[JournalView]:
        """Newest first."""
        query = select(JournalEntry, Contact).join(Contact, Contact.id == JournalEntry.contact_id)
        if contact_id is not None:
            query = query.where(JournalEntry.contact_id == contact_id)
        with self._database.read() as session:
            rows = session.execute(query.order_by(JournalEntry.created_at.desc()).limit(limit)).all()
        return [self._view(entry, contact) for entry, contact in rows]

    def between(
        self, *, contact_id: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[JournalView]:
        """Every entry written at or after `since` and before `until`, oldest first. Read in batches: a journal may be of any length."""
        query = select(JournalEntry, Contact).join(Contact, Contact.id == JournalEntry.contact_id)
        if contact_id is not None:
            query = query.where(JournalEntry.contact_id == contact_id)
        if since is not None:
            query = query.where(JournalEntry.created_at >= since)
        if until is not None:
            query = query.where(JournalEntry.created_at < until)
        query = query.order_by(JournalEntry.created_at, JournalEntry.id).limit(BATCH)
        after: ColumnElement[bool] = true()
        while True:
            with self._database.read() as session:
                rows = session.execute(query.where(after)).all()
            yield from (self._view(entry, contact) for entry, contact in rows)
            if len(rows) < BATCH:
                return
            last = rows[-1][0]
            after = or_(
                JournalEntry.created_at > last.created_at,
                and_(JournalEntry.created_at == last.created_at, JournalEntry.id > last.id),
            )

    def find(self, wanted: str) -> JournalView:
        """By id or call id, whole or an unambiguous prefix. Raises NotFound, or Conflict that lists which it could mean."""
        if not wanted:
            raise NotFound("no journal entry was named; `orch journal list` shows them")
        with self._database.read() as session:
            rows = session.execute(
                select(JournalEntry, Contact)
                .join(Contact, Contact.id == JournalEntry.contact_id)
                .where(
                    JournalEntry.id.startswith(wanted, autoescape=True) | JournalEntry.scheduled_call_id.startswith(wanted, autoescape=True)
                )
                .order_by(JournalEntry.created_at.desc())
                .limit(10)
            ).all()
        if not rows:
            raise NotFound(f"no journal entry {wanted!r}; `orch journal list` shows them")
        if len({entry.scheduled_call_id for entry, _ in rows}) > 1:
            shown = [f"{entry.id[:8]} of {contact.name}, {entry.created_at:%Y-%m-%d %H:%M} UTC" for entry, contact in rows]
            raise Conflict(ambiguous(wanted, "journal entries", shown))
        return self._view(*rows[0])

    def _view(self, entry: JournalEntry, contact: Contact) -> JournalView:
        return JournalView(
            entry.id,
            contact.id,
            contact.name,
            entry.scheduled_call_id,
            entry.plan,
            entry.complete,
            entry.created_at,
            self._database.open_json(entry.body_sealed, _context(entry.conversation_id)),
            contact.timezone,
        )


def _context(conversation_id: str) -> str:
    return f"journal:{conversation_id}"
