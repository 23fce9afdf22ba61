"""Taking in contacts and their windows: everything is checked before anything is stored."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.domain.contacts import clean_name, clean_pronunciation, parse_phone
from core.domain.permitted import PermittedHours, window_possible
from core.domain.windows import LocalWindow, zone_of
from core.errors import InvalidInput
from core.plans.library import PlanLibrary
from core.storage.contacts import ContactStore, ContactView, WindowView
from core.windows.importing import ContactImport


@dataclass(frozen=True, slots=True)
class NewContact:
    """What a person typed."""

    name: str
    phone: str
    timezone: str
    pronunciation: str | None = None
    plan: str | None = None
    demo: str | None = None


class Booking:
    def __init__(
        self,
        contacts: ContactStore,
        plans: PlanLibrary,
        *,
        countries: Collection[str],
        permitted: PermittedHours,
        dial_time: timedelta,
        simulated: bool,
    ) -> None:
        self._contacts = contacts
        self._plans = plans
        self._countries = countries
        self._permitted = permitted
        self._dial_time = dial_time
        self._simulated = simulated

    def add_contact(self, new: NewContact, now: datetime) -> ContactView:
        """Raises InvalidInput, NotFound (the plan) or Conflict (the same person again)."""
        phone = parse_phone(new.phone, self._countries)
        zone_of(new.timezone)
        if new.plan is not None:
            self._plans.get(new.plan)
        contact_id = self._contacts.add(
            name=clean_name(new.name),
            phone=phone,
            timezone=new.timezone,
            pronunciation=clean_pronunciation(new.pronunciation),
            plan=new.plan,
            simulated=self._simulated,
            demo=new.demo,
            now=now,
        )
        return self._contacts.find(contact_id)

    def importer(self) -> ContactImport:
        """For a file of contacts, under the same rules."""
        return ContactImport(
            self._contacts,
            self._plans,
            countries=self._countries,
            permitted=self._permitted,
            dial_time=self._dial_time,
            simulated=self._simulated,
        )

    def move_contact(self, contact: ContactView, timezone: str, now: datetime) -> ContactView:
        """Raises InvalidInput for an unknown zone."""
        zone_of(timezone)
        self._contacts.move(contact.id, timezone, now)
        return self._contacts.find(contact.id)

    def add_window(self, contact: ContactView, window: LocalWindow, plan: str | None, now: datetime) -> WindowView:
        """Raises InvalidInput for a window in which nobody may ever be called, NotFound, or Conflict."""
        if plan is not None:
            self._plans.get(plan)
        impossible = window_possible(window, zone_of(contact.timezone), self._permitted, dial_time=self._dial_time)
        if impossible is not None:
            raise InvalidInput(impossible)
        return self._contacts.add_window(contact.id, window, plan, now)
