"""Journal entries: sealed, written once at settlement, searched by metadata only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Conflict, NotFound
from core.storage.database import Database, insert_or_ignore, new_id
from core.storage.tables import Contact, Conversation, JournalEntry


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


class JournalStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def write_in(self, session: Session, conversation: Conversation, body: dict[str, Any], complete: bool, now: datetime) -> bool:
        """The conversation's entry, in the settlement's transaction. False: it was written before."""
        return insert_or_ignore(
            session,
            JournalEntry,
            {
                "id": new_id(),
                "conversation_id": conversation.id,
                "scheduled_call_id": conversation.scheduled_call_id,
                "contact_id": conversation.contact_id,
                "plan": conversation.plan,
                "complete": complete,
                "body_sealed": self._database.seal(body, _context(conversation.id)),
                "created_at": now,
            },
        )

    def recent(self, *, contact_id: str | None = None, limit: int = 50) -> list[JournalView]:
        """Newest first."""
        query = select(JournalEntry, Contact).join(Contact, Contact.id == JournalEntry.contact_id)
        if contact_id is not None:
            query = query.where(JournalEntry.contact_id == contact_id)
        with self._database.read() as session:
            rows = session.execute(query.order_by(JournalEntry.created_at.desc()).limit(limit)).all()
        return [self._view(entry, contact) for entry, contact in rows]

    def find(self, wanted: str) -> JournalView:
        """By id or call id, whole or an unambiguous prefix. Raises NotFound or Conflict."""
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
            raise Conflict(f"{wanted!r} fits {len(rows)} journal entries; give more of the id")
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
        )


def _context(conversation_id: str) -> str:
    return f"journal:{conversation_id}"
