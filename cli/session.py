"""What a data command opens: settings, the database, and stores over it. Imported inside command bodies only.

Each store is imported and made when it is first asked for: together they take longer to import than most commands take to run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from core import bootstrap
from core.settings import Settings, load_settings

if TYPE_CHECKING:
    from core.calls.settlement import Settlement
    from core.plans.library import PlanLibrary
    from core.storage.calls import CallStore
    from core.storage.contacts import ContactStore
    from core.storage.control import ControlStore
    from core.storage.conversations import ConversationStore
    from core.storage.database import Database
    from core.storage.journal import JournalStore
    from core.windows.booking import Booking


class Session:
    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings, self.database = settings, database

    @cached_property
    def plans(self) -> PlanLibrary:
        return bootstrap.plan_library(self.settings)

    @cached_property
    def contacts(self) -> ContactStore:
        from core.storage.contacts import ContactStore

        return ContactStore(self.database)

    @cached_property
    def booking(self) -> Booking:
        return bootstrap.booking(self.settings, self.contacts, self.plans)

    @cached_property
    def calls(self) -> CallStore:
        from core.storage.calls import CallStore

        return CallStore(self.database)

    @cached_property
    def conversations(self) -> ConversationStore:
        from core.storage.conversations import ConversationStore

        return ConversationStore(self.database)

    @cached_property
    def control(self) -> ControlStore:
        from core.storage.control import ControlStore

        return ControlStore(self.database)

    @cached_property
    def journal(self) -> JournalStore:
        from core.storage.journal import JournalStore

        return JournalStore(self.database)

    @cached_property
    def settlement(self) -> Settlement:
        from core.calls.settlement import Settlement

        return Settlement(self.database, self.plans)

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
        yield Session(settings, database)
    finally:
        database.close()
