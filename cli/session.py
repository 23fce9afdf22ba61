"""What a data command opens: settings, the database, and stores over it. Imported inside command bodies only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from core import bootstrap
from core.plans.library import PlanLibrary
from core.settings import Settings, load_settings
from core.storage.calls import CallStore
from core.storage.contacts import ContactStore
from core.storage.control import ControlStore
from core.storage.conversations import ConversationStore
from core.storage.journal import JournalStore
from core.windows.booking import Booking


@dataclass(frozen=True, slots=True)
class Session:
    settings: Settings
    plans: PlanLibrary
    contacts: ContactStore
    booking: Booking
    calls: CallStore
    conversations: ConversationStore
    control: ControlStore
    journal: JournalStore

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)


@contextmanager
def open_session() -> Iterator[Session]:
    """Raises SettingsError where orch was never set up: a mistyped ORCH_HOME must not quietly become a new installation."""
    settings = load_settings()
    bootstrap.open_vault(settings)
    bootstrap.initialise(settings)
    database = bootstrap.open_database(settings)
    try:
        contacts, plans = ContactStore(database), bootstrap.plan_library(settings)
        yield Session(
            settings=settings,
            plans=plans,
            contacts=contacts,
            booking=bootstrap.booking(settings, contacts, plans),
            calls=CallStore(database),
            conversations=ConversationStore(database),
            control=ControlStore(database),
            journal=JournalStore(database),
        )
    finally:
        database.close()
