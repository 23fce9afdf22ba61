"""Importing contacts: all faults at once, all contacts or none."""

from __future__ import annotations

import time as clock
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from core.domain.permitted import PermittedHours
from core.errors import Conflict, NotFound
from core.plans.library import PlanLibrary
from core.storage.contacts import Arrival, ContactStore
from core.storage.database import Database
from core.storage.tables import CallWindow, Contact
from core.windows.booking import Booking, NewContact
from core.windows.importing import ContactImport

NOON = datetime(2026, 11, 21, 17, 0, tzinfo=UTC)
HEADER = "name,phone,timezone,pronunciation,plan,days,start,end\n"
PLANS = Path(__file__).resolve().parents[2] / "plans"


def booking(database: Database) -> Booking:
    return Booking(
        ContactStore(database),
        PlanLibrary(PLANS),
        countries=("US",),
        permitted=PermittedHours(time(8), time(21)),
        dial_time=timedelta(seconds=90),
        simulated=True,
    )


@pytest.fixture
def importer(database: Database) -> ContactImport:
    return booking(database).importer()


def stored(database: Database) -> tuple[int, int]:
    with database.read() as session:
        people = session.scalar(select(func.count()).select_from(Contact)) or 0
        return people, session.scalar(select(func.count()).select_from(CallWindow)) or 0


def test_people_arrive_with_their_windows(importer: ContactImport, database: Database) -> None:
    text = (
        HEADER
        + "Ada,'+1 (202) 555-0101,America/New_York,AY-da,,mon-fri,8:00,09:00:00\n"
        + "=HYPERLINK(x),+12025550102,Asia/Tokyo,,daily-reflection,,,\n"
    )
    report = importer.run(text.encode(), None, NOON, dry_run=True)
    assert (report.rows, report.windows, report.faults, report.contacts) == (2, 1, (), ())
    assert stored(database) == (0, 0)
    report = importer.run(text.encode(), None, NOON)
    assert [(made.line, made.name) for made in report.contacts] == [(2, "Ada"), (3, "=HYPERLINK(x)")]
    store = ContactStore(database)
    ada = store.find("Ada")
    assert (ada.id, ada.phone, ada.timezone, ada.pronunciation, ada.plan) == (
        report.contacts[0].id,
        "+12025550101",
        "America/New_York",
        "AY-da",
        None,
    )
    (window,) = store.windows(ada.id)
    assert str(window.window) == "weekdays 08:00-09:00"
    # Monday, 08:00 in New York.
    assert window.next_opens_at == datetime(2026, 11, 23, 13, 0, tzinfo=UTC)
    assert store.find("+12025550102").plan == "daily-reflection"


def test_the_plan_of_rows_that_name_none(importer: ContactImport, database: Database) -> None:
    names = PlanLibrary(PLANS).names()
    text = f"name,phone,timezone,plan\nAda,+12025550101,UTC,{names[0]}\nBob,+12025550102,UTC,\n"
    importer.run(text.encode(), names[1], NOON)
    assert [each.plan for each in ContactStore(database).all()] == [names[0], names[1]]
    with pytest.raises(NotFound):
        importer.run(text.encode(), "no-such-plan", NOON)


def test_every_fault_is_said_with_its_line_and_nothing_is_stored(importer: ContactImport, database: Database) -> None:
    ContactStore(database).add(name="Old", phone="+12025550150", timezone="UTC", pronunciation=None, plan=None, simulated=True, now=NOON)
    rows = [
        "Ada,+12025550101,America/New_York,,,,,",
        "Bob,1.5551E+10,America/New_York,,,,,",
        "Cyd,12025550103,America/NewYork,,,,,",
        "Dan,+12025550101,UTC,,,,,",
        "Eve,+12025550150,UTC,,,,,",
        ",+12025550106,UTC,,no-plan,mon,02:00,03:00",
        "Fay,+12025550107,UTC,,,mon,,",
        "Gus,+12025550108,UTC,,,someday,08:00,25:00",
        "Hal,+442071838750,UTC,,,,,",
        "Ida\x1b[2J,+12025550110,UTC,,,,,",
    ]
    report = importer.run((HEADER + "\n".join(rows)).encode(), None, NOON)
    told = [(fault.line, fault.column) for fault in report.faults]
    assert told == [
        *[(3, "phone"), (4, "phone"), (4, "timezone"), (5, "phone"), (6, "phone"), (7, "name"), (7, "plan"), (7, "start")],
        *[(8, "start"), (9, "days"), (10, "phone"), (11, "name")],
    ]
    said = [fault.problem for fault in report.faults]
    for number, fragment in enumerate(
        [
            "spreadsheet",
            "must start with +",
            "did you mean America/New_York",
            "of line 2",
            "Old (",
            "empty",
            "no-plan",
            "08:00-21:00",
            "start and end missing",
            "25:00",
            "ORCH_COUNTRIES",
            "control character",
        ]
    ):
        assert fragment in said[number], said[number]
    assert report.contacts == ()
    assert stored(database) == (1, 0)


def test_numbers_that_asked_not_to_be_called_are_counted(importer: ContactImport, database: Database) -> None:
    ContactStore(database).suppress("+12025550101", "test", NOON)
    report = importer.run(b"name,phone,timezone\nAda,+12025550101,UTC\nBob,+12025550102,UTC\n", None, NOON)
    assert (len(report.contacts), report.do_not_call) == (2, 1)
    assert ContactStore(database).find("Ada").do_not_call


def test_a_number_that_somebody_adds_meanwhile_stops_all_of_it(database: Database) -> None:
    store = ContactStore(database)
    arrivals = [Arrival(f"P{n}", f"+120255501{n:02d}", "UTC", None, None, None) for n in range(3)]
    store.add(name="Bob", phone="+12025550102", timezone="UTC", pronunciation=None, plan=None, simulated=True, now=NOON)
    with pytest.raises(Conflict, match="Bob"):
        store.add_all(arrivals, simulated=True, now=NOON)
    assert stored(database) == (1, 0)


def test_a_contact_taken_out_of_use_gives_its_number_free(importer: ContactImport, database: Database) -> None:
    booking(database).add_contact(NewContact("Old", "+12025550101", "UTC", demo="d"), NOON)
    ContactStore(database).retire_demo(NOON)
    report = importer.run(b"name,phone,timezone\nAda,+12025550101,UTC\n", None, NOON)
    assert report.faults == ()


def test_ten_thousand_rows_take_seconds_and_say_how_far_they_are(sqlite_database: Database) -> None:
    rows = "".join(f"P {n},+1212{2000000 + n},America/New_York,,,mon-fri,08:{n % 50:02d},09:30\n" for n in range(10_000))
    heard: list[tuple[int, int]] = []
    begun = clock.monotonic()
    report = booking(sqlite_database).importer().run((HEADER + rows).encode(), None, NOON, progress=lambda *at: heard.append(at))
    assert len(report.contacts) == 10_000
    assert stored(sqlite_database) == (10_000, 10_000)
    # 1.2 s on an idle core.
    assert clock.monotonic() - begun < 20
    assert heard[0] == (1, 10_000)
    assert heard[-1] == (10_000, 10_000)
