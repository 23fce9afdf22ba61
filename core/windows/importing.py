"""Taking in a file of contacts: every row is checked, all faults are told at once, and either every contact is stored or none."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TypeVar

from core.domain.contacts import clean_name, clean_pronunciation, parse_phone
from core.domain.permitted import PermittedHours, window_possible
from core.domain.windows import LocalWindow, parse_days, parse_time, zone_of
from core.errors import OrchError
from core.plans.library import PlanLibrary
from core.storage.contacts import Arrival, ContactStore
from core.windows.contact_file import Fault, Row, read_contact_file

# Spreadsheets write times of day with their seconds.
_WITH_SECONDS = re.compile(r"(\d{1,2}:\d{2}):00")

Read = TypeVar("Read")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Imported:
    line: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """`contacts` is empty for a dry run, and when there are faults: nothing was stored then."""

    rows: int
    windows: int
    do_not_call: int  # numbers among them that asked not to be called: they will not be
    faults: tuple[Fault, ...]
    contacts: tuple[Imported, ...]


class ContactImport:
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
        # Thousands of rows share a few plans, zones and windows.
        self._impossible = lru_cache(maxsize=4096)(self._why_impossible)
        self._plan_problem = lru_cache(maxsize=256)(self._why_no_plan)

    def run(
        self, raw: bytes, plan: str | None, now: datetime, *, dry_run: bool = False, progress: Progress = lambda _done, _all: None
    ) -> ImportReport:
        """`plan` is that of rows that name none. Raises NotFound or InvalidInput for that plan, and Conflict when somebody
        else adds one of these numbers meanwhile.
        """
        if plan is not None:
            self._plans.get(plan)
        file = read_contact_file(raw)
        faults = list(file.faults)
        checked: list[tuple[int, Arrival]] = []
        first_line: dict[str, int] = {}
        for done, row in enumerate(file.rows, start=1):
            arrival = self._check(row, plan, faults)
            progress(done, len(file.rows))
            if arrival is None:
                continue
            earlier = first_line.setdefault(arrival.phone, row.line)
            if earlier != row.line:
                faults.append(Fault(row.line, "phone", f"phone number is that of line {earlier}; a file names each number once"))
                continue
            checked.append((row.line, arrival))
        known = self._contacts.holders([arrival.phone for _, arrival in checked])
        faults += [
            Fault(line, "phone", f"phone number is {known[arrival.phone]}'s already; leave the row out, or use `orch contact add`")
            for line, arrival in checked
            if arrival.phone in known
        ]
        faults.sort(key=lambda fault: fault.line)
        windows = sum(arrival.window is not None for _, arrival in checked)
        suppressed = self._contacts.count_suppressed([arrival.phone for _, arrival in checked])
        if faults or dry_run:
            return ImportReport(len(file.rows), windows, suppressed, tuple(faults), ())
        ids = self._contacts.add_all([arrival for _, arrival in checked], simulated=self._simulated, now=now)
        made = tuple(Imported(line, contact_id, arrival.name) for (line, arrival), contact_id in zip(checked, ids, strict=True))
        return ImportReport(len(file.rows), windows, suppressed, (), made)

    def _check(self, row: Row, plan: str | None, faults: list[Fault]) -> Arrival | None:
        """The row as it would be stored; None after adding what is wrong with it."""
        before = len(faults)

        def read(column: str, reader: Callable[[str], Read]) -> Read | None:
            try:
                return reader(row.cells[column])
            except OrchError as error:
                faults.append(Fault(row.line, column, str(error)))
                return None

        name = read("name", clean_name)
        # An apostrophe in front is how people keep a spreadsheet from changing a number.
        phone = read("phone", lambda text: parse_phone(text.removeprefix("'"), self._countries))
        zone = read("timezone", lambda text: zone_of(text).key)
        pronunciation = read("pronunciation", clean_pronunciation)
        chosen = row.cells["plan"] or plan
        if row.cells["plan"] and (problem := self._plan_problem(row.cells["plan"])):
            faults.append(Fault(row.line, "plan", problem))
        window = self._window(row, zone, faults)
        if len(faults) > before:
            return None
        assert name is not None
        assert phone is not None
        assert zone is not None
        return Arrival(name, phone, zone, pronunciation, chosen, window)

    def _window(self, row: Row, zone: str | None, faults: list[Fault]) -> LocalWindow | None:
        given = {column: row.cells[column] for column in ("days", "start", "end")}
        if not any(given.values()):
            return None
        missing = [column for column, text in given.items() if not text]
        if missing:
            faults.append(Fault(row.line, missing[0], f"a window needs days, start and end; {' and '.join(missing)} missing here"))
            return None
        try:
            start, end = (parse_time(_WITH_SECONDS.sub(r"\1", given[column])) for column in ("start", "end"))
            window = LocalWindow(parse_days(given["days"]), None, start, end)
        except OrchError as error:
            faults.append(Fault(row.line, "days", str(error)))
            return None
        if zone is not None and (problem := self._impossible(window, zone)):
            faults.append(Fault(row.line, "start", problem))
            return None
        return window

    def _why_impossible(self, window: LocalWindow, zone: str) -> str | None:
        return window_possible(window, zone_of(zone), self._permitted, dial_time=self._dial_time)

    def _why_no_plan(self, name: str) -> str | None:
        try:
            self._plans.get(name)
        except OrchError as error:
            return str(error)
        return None
