"""`call now --dry-run` says what a dial would be told: the same verdicts, from the same facts, and not a trace in the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from core.calls.preview import Conclusion, Preview, preview_call
from core.domain.compliance import RULES
from core.storage.database import Database
from core.storage.tables import Base
from core.telephony.base import CarrierStatus


def preview(bench, contact: str) -> Preview:
    return preview_call(bench.database, bench.rules, bench.public, contact, "daily", simulated=False, now=bench.clock.now())


def everything(database: Database) -> dict[str, list[tuple[object, ...]]]:
    with database.read() as session:
        return {
            table.name: sorted((tuple(row) for row in session.execute(text(f"SELECT * FROM {table.name}"))), key=repr)
            for table in Base.metadata.sorted_tables
        }


def close_lines(bench, _contact: str) -> None:
    bench.change(max_concurrent=0)


def pause(bench, _contact: str) -> None:
    bench.control.pause("lunch", bench.clock.now())


def pause_contact(bench, contact: str) -> None:
    bench.contacts.pause(contact, "on holiday", bench.clock.now())


def night(bench, _contact: str) -> None:
    bench.clock.advance(10 * 3600)


def opt_out(bench, contact: str) -> None:
    bench.contacts.suppress(bench.contacts.find(contact).phone, "test", bench.clock.now())


def ring(bench, contact: str) -> None:
    bench.call(contact)
    bench.step()


def just_rung(bench, contact: str) -> None:
    call = bench.call(contact)
    bench.step()
    bench.says(call, CarrierStatus.NO_ANSWER)
    bench.calls.cancel(call, bench.clock.now())
    bench.tick(60)


def unreachable(bench, _contact: str) -> None:
    bench.public.found = "it answers 502"


SITUATIONS = [close_lines, pause, pause_contact, night, opt_out, ring, just_rung, unreachable, lambda _bench, _contact: None]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: each.__name__.strip("<>"))
def test_it_says_what_a_dial_would_be_told(sqlite_bench, situation) -> None:
    bench = sqlite_bench
    contact = bench.contact()
    situation(bench, contact)
    before = everything(bench.database)
    told = preview(bench, contact)
    assert everything(bench.database) == before
    assert tuple(verdict.rule for verdict in told.verdicts) == RULES
    # The same call for real: its stored verdicts are the judge.
    call = bench.call(contact, window=None)
    bench.step()
    said = {verdict.rule: verdict.allowed for verdict in bench.calls.verdicts(call)}
    assert {verdict.rule: verdict.allowed for verdict in told.verdicts} == said
    dialled = bool(bench.view(call).attempts)
    assert dialled == (told.conclusion is Conclusion.DIAL_NOW)


def test_all_that_stands_in_the_way_is_shown_and_the_last_end_counts(bench) -> None:
    contact = bench.contact()
    just_rung(bench, contact)
    night(bench, contact)
    pause(bench, contact)
    bench.change(min_gap=timedelta(days=1))
    before = everything(bench.database)
    told = preview(bench, contact)
    assert everything(bench.database) == before
    assert [verdict.rule for verdict in told.blocked] == ["kill_switch", "permitted_hours", "min_gap"]
    assert told.conclusion is Conclusion.WAIT
    # A day after the attempt at noon, which is later than the permitted hours of the morning.
    assert told.wait_until == bench.noon + timedelta(days=1)
    assert told.wait_for == ("kill_switch",)


def test_what_no_waiting_helps_is_never(sqlite_bench) -> None:
    bench = sqlite_bench
    contact = bench.contact()
    pause(bench, contact)
    opt_out(bench, contact)
    told = preview(bench, contact)
    assert told.conclusion is Conclusion.NEVER
    assert [verdict.rule for verdict in told.blocked] == ["kill_switch", "do_not_call"]


def test_a_dial_now_says_until_when_it_would_ring(sqlite_bench) -> None:
    bench = sqlite_bench
    told = preview(bench, bench.contact())
    assert told.conclusion is Conclusion.DIAL_NOW
    # 21:00 in New York, less the margin of a minute.
    assert told.ring_until == datetime(2026, 11, 22, 1, 59, tzinfo=UTC)


def test_it_tries_the_public_url_as_a_dial_does(sqlite_bench) -> None:
    bench = sqlite_bench
    tried = bench.public.tried
    preview(bench, bench.contact())
    assert bench.public.tried == tried + 1
