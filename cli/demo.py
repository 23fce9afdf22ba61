"""orch demo: the main job, seen working, at any hour, without ringing anybody."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from cli.session import Session
    from core.storage.calls import CallView
    from core.storage.contacts import ContactView

PLAN = "demo-check-in"
# Somewhere it is always the middle of the day.
ZONES = (
    "America/New_York",
    "America/Los_Angeles",
    "Pacific/Honolulu",
    "Pacific/Auckland",
    "Australia/Sydney",
    "Asia/Tokyo",
    "Asia/Kolkata",
    "Asia/Dubai",
    "Europe/Berlin",
    "America/Sao_Paulo",
)
PEOPLE = {
    "talks": ("Ada", "talks"),
    "busy_then_answers": ("Ben", "busy, then answers"),
    "never_answers": ("Cleo", "never answers"),
    "hangs_up": ("Dan", "hangs up half way"),
    "voicemail": ("Eve", "has voicemail"),
}
WINDOW = timedelta(minutes=30)
PATIENCE_SECONDS = 300.0


def register(root: typer.Typer) -> None:
    root.command()(demo)


def demo() -> None:
    """Call five simulated people, watch, and read the journal. Needs `orch start-all` and the simulator.

    orch demo
    """
    from cli.render import console

    raise typer.Exit(run_demo(console()))


def run_demo(console: Console) -> int:
    """Exit code: 0 when every call was settled, 1 when not, within PATIENCE_SECONDS."""
    from cli.session import open_session
    from core.errors import Conflict
    from workers.control import ask

    with open_session() as session:
        settings = session.settings
        if not settings.simulated:
            raise Conflict(f"the demo only ever calls simulated phones; ORCH_CARRIER is {settings.providers.carrier}")
        if settings.dialling.dial_only:
            raise Conflict("ORCH_DIAL_ONLY is set, so the demo's phones may not be called; unset it for the demo")
        pause = session.control.paused()
        if pause is not None:
            raise Conflict(f"dialling is paused ({pause.reason}); `orch resume` first")
        ask(settings.paths.run, {"do": "status"})
        people = _invite(session)
        console.print(f"Five people are to be called on plan {PLAN}. Their phones are simulated; the calls are real sound both ways.\n")
        calls = _watch(session, console, people)
        console.print()
        _tell(session, console, calls)
        settled = len(calls) == len(people) and all(call.is_final for call in calls)
    if not settled:
        console.print(f"Not every call was settled within {PATIENCE_SECONDS:.0f} s. See `orch status` and `orch logs`.")
    console.print("orch goes on running. Look around: orch status, orch call list, orch logs. Stop it: ./stop-all.sh")
    return 0 if settled else 1


def daytime_zones(now: datetime) -> list[str]:
    """The zones of ZONES in which it is between 10:00 and 17:00. Never empty."""
    from core.domain.windows import zone_of

    return [name for name in ZONES if 10 <= now.astimezone(zone_of(name)).hour < 17]


def _invite(session: Session) -> dict[str, ContactView]:
    """Fresh, marked contacts, each with a one-off window that is open now. By contact id."""
    from core.domain.windows import LocalWindow, zone_of
    from core.windows.booking import NewContact
    from workers.phone_simulator.demo_numbers import demo_phones

    now = session.now
    run = session.contacts.demo_runs()
    session.contacts.retire_demo(now)
    zones = daytime_zones(now)
    people = {}
    for number, (behaviour, phone) in enumerate(demo_phones(run)):
        zone = zones[number % len(zones)]
        name, _ = PEOPLE[behaviour]
        person = session.booking.add_contact(NewContact(name, phone, zone, plan=PLAN, demo=f"{run}:{now:%Y%m%dT%H%M%S}"), now)
        local = now.astimezone(zone_of(zone))
        start = local.replace(second=0, microsecond=0)
        window = LocalWindow(None, start.date(), start.time(), (start + WINDOW).time())
        session.booking.add_window(person, window, None, now)
        people[person.id] = person
    return people


def _watch(session: Session, console: Console, people: dict[str, ContactView]) -> list[CallView]:
    """Follow the calls until all are settled: a live table on a terminal, a line for each change elsewhere."""
    from rich.live import Live

    begun = time.monotonic()
    told: dict[str, str] = {}
    with Live(console=console, refresh_per_second=4, transient=False) if console.is_terminal else _Silent() as screen:
        while True:
            calls = sorted(session.calls.for_contacts(people), key=lambda call: call.contact_name)
            if console.is_terminal:
                screen.update(_table(calls, people))
            else:
                for call in calls:
                    line = f"{call.contact_name} ({_behaviour(call)}): {_progress(call)}"
                    if told.get(call.id) != line:
                        told[call.id] = line
                        console.print(line)
            done = len(calls) == len(people) and all(call.is_final for call in calls)
            if done or time.monotonic() - begun > PATIENCE_SECONDS:
                return calls
            time.sleep(0.25)


class _Silent:
    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, _table: Table) -> None:
        return None


def _table(calls: list[CallView], people: dict[str, ContactView]) -> Table:
    from rich.table import Table

    table = Table(title=f"{datetime.now(UTC):%H:%M:%S} UTC", expand=False)
    for heading in ("WHO", "PHONE", "LOCAL TIME", "STATE", "SO FAR"):
        table.add_column(heading)
    by_contact = {call.contact_id: call for call in calls}
    for person in people.values():
        call = by_contact.get(person.id)
        state = call.state if call else "window opens"
        so_far = " -> ".join(a.outcome or a.status for a in call.attempts) if call else ""
        table.add_row(person.name, PEOPLE_BY_NAME[person.name], _local_time(person.timezone), state, so_far)
    return table


PEOPLE_BY_NAME = dict(PEOPLE.values())


def _local_time(zone: str) -> str:
    from core.domain.windows import zone_of

    return f"{datetime.now(UTC).astimezone(zone_of(zone)):%H:%M} {zone}"


def _behaviour(call: CallView) -> str:
    return PEOPLE_BY_NAME[call.contact_name]


def _progress(call: CallView) -> str:
    tries = " -> ".join(attempt.outcome or attempt.status for attempt in call.attempts)
    return f"{call.state}{f' [{tries}]' if tries else ''}{f' - {call.reason}' if call.reason else ''}"


def _tell(session: Session, console: Console, calls: list[CallView]) -> None:
    from rich.markdown import Markdown

    from core.domain.journal import render_markdown

    for call in calls:
        if call.journal_id is None:
            continue
        entry = session.journal.find(call.journal_id)
        console.rule(f"Journal: {entry.contact_name}")
        text = render_markdown(entry.body)
        console.print(Markdown(text) if console.is_terminal else text)
    console.print()
