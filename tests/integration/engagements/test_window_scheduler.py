"""Opening call windows: each occurrence once, on its own day, and what could not be served told with its reason."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, time, timedelta

import pytest
from sqlalchemy import event

from core.domain.calls import CallState, Origin
from core.domain.windows import LocalWindow
from core.plans.library import PlanLibrary
from core.storage.database import Database
from core.storage.problems import ProblemStore
from core.storage.tables import CallWindow, Contact, Run, ScheduledCall
from core.windows.scheduler import WindowScheduler

EVERY_DAY = frozenset(range(7))
# Saturday 07:00 in New York.
MORNING = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


class Desk:
    def __init__(self, bench, plans_dir) -> None:
        self.bench = bench
        self.database: Database = bench.database
        self.plans = PlanLibrary(plans_dir)
        self.scheduler = self.another()

    def another(self) -> WindowScheduler:
        """As in another process, or after a restart."""
        return WindowScheduler(self.database, self.plans, default_plan="daily", simulated=False)

    def window(self, start: str, end: str, *, contact=None, on=None, days=EVERY_DAY, plan=None, now=MORNING, timezone="America/New_York"):
        contact = contact or self.bench.contact(timezone=timezone)
        local = LocalWindow(None if on else days, on, time.fromisoformat(start), time.fromisoformat(end))
        return self.bench.contacts.add_window(contact, local, plan, now)

    def calls(self) -> list[ScheduledCall]:
        with self.database.read() as session:
            return session.query(ScheduledCall).order_by(ScheduledCall.opens_at).all()

    def told(self) -> list[tuple[date, str]]:
        return [(call.opening_date, call.state) for call in self.calls()]


@pytest.fixture
def desk(bench, plans_dir) -> Desk:
    return Desk(bench, plans_dir)


def test_a_window_opens_once_with_a_call_and_its_run(desk) -> None:
    window = desk.window("09:00", "12:00")
    assert desk.scheduler.tick(MORNING).opened == 0
    opening = MORNING + timedelta(hours=2)
    report = desk.scheduler.tick(opening)
    assert (report.due, report.opened) == (1, 1)
    (call,) = desk.calls()
    assert (call.origin, call.window_id, call.opening_date) == (Origin.WINDOW, window.id, date(2026, 11, 21))
    assert (call.opens_at, call.closes_at) == (opening, opening + timedelta(hours=3))
    with desk.database.read() as session:
        assert session.query(Run).filter_by(subject_id=call.id).one().wake_at == opening
    assert report.next_opens_at == opening + DAY
    assert desk.another().tick(opening).opened == 0
    assert desk.another().tick(opening + timedelta(hours=1)).opened == 0
    assert desk.scheduler.tick(opening + DAY).opened == 1


def test_schedulers_at_once_open_each_window_once(desk) -> None:
    for _ in range(20):
        desk.window("09:00", "12:00")
    opened = []
    go = threading.Barrier(4)

    def scan() -> None:
        scheduler = desk.another()
        go.wait()
        opened.append(scheduler.tick(MORNING + timedelta(hours=2)).opened)

    threads = [threading.Thread(target=scan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(opened) == 20
    assert len(desk.calls()) == 20


def test_call_and_run_come_together_or_not_at_all(desk) -> None:
    desk.window("09:00", "12:00")
    opening = MORNING + timedelta(hours=2)
    engine = desk.database._writer

    def refuse(_connection, _cursor, statement, *_rest) -> None:
        if statement.startswith("INSERT INTO runs"):
            raise RuntimeError("power cut")

    event.listen(engine, "before_cursor_execute", refuse)
    with pytest.raises(RuntimeError, match="power cut"):
        desk.scheduler.tick(opening)
    event.remove(engine, "before_cursor_execute", refuse)
    assert desk.calls() == []
    assert desk.another().tick(opening).opened == 1


def test_a_one_off_window_opens_on_its_date_only(desk) -> None:
    desk.window("09:00", "12:00", on=date(2026, 11, 22))
    assert desk.scheduler.tick(MORNING + timedelta(hours=2)).opened == 0
    assert desk.scheduler.tick(MORNING + timedelta(hours=26)).opened == 1
    assert desk.scheduler.tick(MORNING + 30 * DAY).due == 0
    assert len(desk.calls()) == 1


def test_a_window_over_midnight_belongs_to_the_day_it_opened_on(desk) -> None:
    desk.window("22:00", "01:00")
    # orch starts at 00:10 on the 22nd.
    late = datetime(2026, 11, 22, 5, 10, tzinfo=UTC)
    assert desk.scheduler.tick(late).opened == 1
    (call,) = desk.calls()
    assert call.opening_date == date(2026, 11, 21)
    assert call.closes_at == datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
    assert desk.scheduler.tick(late + timedelta(minutes=5)).opened == 0
    # The same day's evening is the next day's call.
    assert desk.scheduler.tick(datetime(2026, 11, 23, 3, 0, tzinfo=UTC)).opened == 1


@pytest.mark.parametrize(("plan", "calls"), [("daily", 1), ("twice", 2)])
def test_two_windows_a_day_are_as_many_calls_as_the_plan_allows(desk, plan, calls) -> None:
    contact = desk.bench.contact()
    desk.window("09:00", "10:00", contact=contact, plan=plan)
    desk.window("15:00", "16:00", contact=contact, plan=plan)
    desk.scheduler.tick(MORNING + timedelta(hours=2))
    report = desk.scheduler.tick(MORNING + timedelta(hours=8))
    assert len(desk.calls()) == calls
    assert dict(report.skipped) == ({"called_today": 1} if calls == 1 else {})


def test_one_opening_is_one_call_however_many_the_plan_allows(desk) -> None:
    contact = desk.bench.contact()
    desk.window("09:00", "12:00", contact=contact, plan="twice")
    desk.scheduler.tick(MORNING + timedelta(hours=2))
    # Moved within the same local time: the opening is looked at again.
    desk.bench.contacts.move(contact, "America/Detroit", MORNING + timedelta(hours=3))
    assert desk.scheduler.tick(MORNING + timedelta(hours=3)).opened == 0
    assert len(desk.calls()) == 1


def test_what_closed_while_orch_was_down_is_missed_and_the_next_day_opens(desk) -> None:
    desk.window("09:00", "10:00")
    desk.scheduler.tick(MORNING)
    report = desk.another().tick(MORNING + 2 * DAY + timedelta(hours=2, minutes=30))
    assert (report.missed, report.opened) == (2, 1)
    assert desk.told() == [
        (date(2026, 11, 21), CallState.MISSED),
        (date(2026, 11, 22), CallState.MISSED),
        (date(2026, 11, 23), CallState.PENDING),
    ]
    assert {call.reason for call in desk.calls()[:2]} == {"orch was not running while the window was open"}
    with desk.database.read() as session:
        assert session.query(Run).count() == 1


def test_what_closed_unserved_while_orch_was_up_says_so(desk) -> None:
    desk.window("09:00", "10:00")
    for minutes in range(0, 121, 5):
        # Up, and blind: another scheduler's clock was behind.
        desk.scheduler._uptime.seen(MORNING + timedelta(minutes=60 + minutes))
    desk.scheduler.tick(MORNING + timedelta(hours=4))
    (call,) = desk.calls()
    assert call.reason == "the window closed before it could be served"


def test_a_window_still_open_when_orch_starts_is_served_at_once(desk) -> None:
    desk.window("09:00", "12:00")
    report = desk.scheduler.tick(MORNING + timedelta(hours=4))
    assert (report.opened, report.missed) == (1, 0)


def test_a_contact_who_moves_is_called_by_the_new_clock(desk) -> None:
    contact = desk.bench.contact()
    desk.window("09:00", "12:00", contact=contact)
    desk.bench.contacts.move(contact, "America/Los_Angeles", MORNING)
    assert desk.scheduler.tick(MORNING + timedelta(hours=2)).opened == 0
    assert desk.scheduler.tick(MORNING + timedelta(hours=5)).opened == 1


def test_an_inactive_contact_is_not_called(desk) -> None:
    contact = desk.bench.contact()
    desk.window("09:00", "12:00", contact=contact)
    with desk.database.write() as session:
        session.get_one(Contact, contact).active = False
    report = desk.scheduler.tick(MORNING + timedelta(hours=2))
    assert dict(report.skipped) == {"contact_inactive": 1}
    assert desk.calls() == []
    assert report.next_opens_at == MORNING + timedelta(hours=26)


def test_a_paused_contacts_window_opens_and_one_that_closed_unserved_names_the_pause(desk) -> None:
    contact = desk.bench.contact()
    desk.window("09:00", "12:00", contact=contact)
    desk.bench.contacts.pause(contact, "on holiday", MORNING)
    assert desk.scheduler.tick(MORNING + timedelta(hours=2)).opened == 1
    assert desk.scheduler.tick(MORNING + timedelta(days=1, hours=6)).missed == 1
    assert [call.reason for call in desk.calls()] == [None, "the contact is paused: on holiday"]


def test_a_zone_nobody_knows_any_more_stops_one_contact_only(desk) -> None:
    lost = desk.bench.contact()
    desk.window("09:00", "12:00", contact=lost)
    desk.window("09:00", "12:00")
    with desk.database.write() as session:
        session.get_one(Contact, lost).timezone = "Mars/Olympus_Mons"
    assert desk.scheduler.tick(MORNING + timedelta(hours=2)).opened == 1
    assert [problem.key for problem in ProblemStore(desk.database).open()] == [f"zone:{lost}"]
    desk.bench.contacts.move(lost, "America/New_York", MORNING + timedelta(hours=2))
    assert desk.scheduler.tick(MORNING + timedelta(hours=2)).opened == 1


def test_a_plan_that_is_gone_does_not_stop_the_scan(desk) -> None:
    desk.window("09:00", "12:00", plan="gone")
    assert desk.scheduler.tick(MORNING + timedelta(hours=2)).opened == 1


def test_a_removed_window_opens_no_more(desk) -> None:
    window = desk.window("09:00", "12:00")
    desk.bench.contacts.remove_window(window.id, MORNING)
    assert desk.scheduler.tick(MORNING + timedelta(hours=2)).due == 0


def statements(desk, now) -> int:
    counted = []
    engines = {desk.database._reader, desk.database._writer}

    def count(_connection, _cursor, statement, *_rest) -> None:
        counted.append(statement)

    for engine in engines:
        event.listen(engine, "before_cursor_execute", count)
    desk.scheduler.tick(now)
    for engine in engines:
        event.remove(engine, "before_cursor_execute", count)
    return len(counted)


def test_a_scan_costs_what_is_due_and_not_what_there_is(desk) -> None:
    desk.window("09:00", "12:00")
    desk.scheduler.tick(MORNING)
    few = statements(desk, MORNING + timedelta(minutes=5))
    contact = desk.bench.contact()
    for minute in range(50):
        desk.window("13:00", f"14:{minute:02d}", contact=contact)
    assert statements(desk, MORNING + timedelta(minutes=10)) == few
    with desk.database.read() as session:
        plan = session.connection().exec_driver_sql(
            ("EXPLAIN QUERY PLAN " if desk.database.is_sqlite else "EXPLAIN ")
            + "SELECT id FROM call_windows WHERE next_opens_at <= '2026-01-01' LIMIT 1"
        )
        text = " ".join(str(row) for row in plan)
    if desk.database.is_sqlite:
        assert "ix_call_windows_next_opens_at" in text


def test_new_zone_rules_move_openings(desk) -> None:
    window = desk.window("09:00", "12:00")
    with desk.database.write() as session:
        row = session.get_one(CallWindow, window.id)
        # As an older zone database had promised it: an hour too late, which the new one knows better.
        row.next_opens_at = MORNING + timedelta(hours=3)
        row.tzdata_version = "2020a"
    report = desk.another().tick(MORNING + timedelta(hours=2))
    assert report.opened == 1
    (call,) = desk.calls()
    assert call.opens_at == MORNING + timedelta(hours=2)


def test_new_zone_rules_do_not_lose_an_opening_that_is_due(desk) -> None:
    window = desk.window("09:00", "10:00")
    with desk.database.write() as session:
        session.get_one(CallWindow, window.id).tzdata_version = "2020a"
    report = desk.another().tick(MORNING + timedelta(hours=5))
    assert report.missed == 1
