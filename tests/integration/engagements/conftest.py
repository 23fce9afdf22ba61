"""A bench for engagements: a clock set by hand, a carrier that keeps a ledger, and the objects that dial, on a real database."""

from __future__ import annotations

import threading
import time as time_module
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from core.calls.dialler import Dialler
from core.calls.facts import DialRules
from core.calls.settlement import Applied, Settlement, StatusReport
from core.calls.watch import Watch
from core.domain.calls import CallState, Origin
from core.domain.retries import RetryPolicy
from core.domain.runs import ENDED_RUN_STATES
from core.engagement.driver import PlainDriver, StepReport
from core.engagement.nodes import Engagement
from core.errors import ProviderError
from core.plans.library import PlanLibrary
from core.storage.attempts import read_attempt
from core.storage.calls import CallStore, CallView, create_call
from core.storage.contacts import ContactStore
from core.storage.control import ControlStore
from core.storage.conversations import ConversationStore
from core.storage.database import Database
from core.storage.runs import Owner, RunLedger
from core.storage.tables import Attempt, Contact, Run, ScheduledCall
from core.telephony.base import CarrierCall, CarrierStatus, DialRequest, DialResult, Placed

# A Saturday, noon in New York: inside the permitted hours.
NOON = datetime(2026, 11, 21, 17, 0, tzinfo=UTC)
ZONE = "America/New_York"

PLAN = """
name: {name}
title: A plan
greeting: 'Hello {{name}}, this is {{caller}}, an automated voice; to stop these calls, say stop calling me, or press star.'
checkpoints:
  - id: day
    prompt: How was your day?
    complete_when:
      kind: any_answer
    follow_up: In a few words, how was it?
closing: Goodbye.
calls_per_day: {calls_per_day}
"""


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, now: datetime = NOON) -> None:
        self._now = now
        self._boot = 1000.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        with self._lock:
            return self._now

    def boot_seconds(self) -> float:
        with self._lock:
            return self._boot

    def advance(self, seconds: float) -> datetime:
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._boot += seconds
            return self._now


class LedgerCarrier:
    """Remembers each request, and knows the calls it has placed. `on_dial` may look, raise, or answer otherwise."""

    name = "ledger"
    account = "AC-ledger"

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.dials: list[DialRequest] = []
        self.hung_up: list[str] = []
        self.redirected: list[tuple[str, str]] = []
        self.calls: dict[str, CarrierCall] = {}
        self.on_dial: Callable[[DialRequest], DialResult | None] = lambda _request: None
        self.on_fetch: Callable[[str], None] = lambda _sid: None
        self.down = False
        self.listings = 0
        self.ahead = timedelta()

    def dial(self, request: DialRequest, *, deadline_seconds: float) -> DialResult:
        with self._lock:
            self.dials.append(request)
        answer = self.on_dial(request)
        if answer is not None:
            return answer
        return Placed(self.place(request.to), CarrierStatus.QUEUED, 0.0, None)

    def place(self, to: str) -> str:
        """The carrier has the call from now on, whatever it answers."""
        with self._lock:
            sid = f"CA{len(self.calls) + 1:032d}"
            self.calls[sid] = CarrierCall(sid, to, CarrierStatus.QUEUED, "outbound-api", self._clock.now(), None, None)
        return sid

    def hang_up(self, carrier_call_id: str) -> None:
        self._check()
        self.hung_up.append(carrier_call_id)
        call = self.calls.get(carrier_call_id)
        if call is not None and not call.status.is_final:
            live = call.status is CarrierStatus.IN_PROGRESS
            self.calls[carrier_call_id] = replace(call, status=CarrierStatus.COMPLETED if live else CarrierStatus.CANCELED)

    def redirect(self, carrier_call_id: str, url: str) -> None:
        self._check()
        self.redirected.append((carrier_call_id, url))

    def carrier_now(self) -> datetime | None:
        self._check()
        return self._clock.now() + self.ahead

    def fetch(self, carrier_call_id: str) -> CarrierCall | None:
        self._check()
        self.on_fetch(carrier_call_id)
        return self.calls.get(carrier_call_id)

    def list_calls(self, to: str, since: datetime) -> Iterator[CarrierCall]:
        self._check()
        self.listings += 1
        return iter([call for call in self.calls.values() if call.to == to and call.created_at is not None and call.created_at >= since])

    def _check(self) -> None:
        if self.down:
            raise ProviderError("the carrier does not answer", provider=self.name, retryable=True)


class OpenDoor:
    """A public URL that answers, until it is given a problem."""

    def __init__(self) -> None:
        self.found: str | None = None
        self.tried = 0

    def problem(self) -> str | None:
        self.tried += 1
        return self.found


class Bench:
    """Everything between a scheduled call and its end, with short cuts for saying what the carrier says."""

    noon = NOON

    def __init__(self, database: Database, plans_dir: Path) -> None:
        self.database = database
        self.clock = ManualClock()
        self.carrier = LedgerCarrier(self.clock)
        self.public = OpenDoor()
        self.plans = PlanLibrary(plans_dir)
        self.owner = Owner.this_process()
        self.policy = RetryPolicy(3, (timedelta(minutes=30), timedelta(hours=1)))
        self.rules = DialRules(
            carrier="ledger",
            carrier_is_real=True,
            mode="enhanced",
            dial_only=tuple(f"+120255501{number:02d}" for number in range(100)),
            countries=("US",),
            permitted_from=time(8),
            permitted_until=time(21),
            per_day=10,
            per_week=20,
            min_gap=timedelta(minutes=15),
            max_concurrent=100,
            per_second=1e9,
            ring_seconds=30,
            max_call_seconds=900,
            public_url="https://orch.example",
        )
        self.contacts = ContactStore(database)
        self.calls = CallStore(database)
        self.control = ControlStore(database)
        self.conversations = ConversationStore(database)
        self._drivers: list[PlainDriver] = []
        self._contacts_made = 0
        self._calls_made = 0
        self.rebuild()

    def rebuild(self, *, threads: int = 4, database: Database | None = None) -> PlainDriver:
        """New objects, as after a restart, or for changed rules."""
        database = database or self.database
        self.settlement = Settlement(database, self.plans)
        self.watch = Watch(database, self.carrier, self.settlement, self.clock)
        self.dialler = Dialler(database, self.carrier, self.rules, self.settlement, self.owner, self.clock, self.public)
        self.work = Engagement(
            database=database,
            dialler=self.dialler,
            watch=self.watch,
            settlement=self.settlement,
            plans=self.plans,
            clock=self.clock,
            default_policy=self.policy,
            permitted=self.rules.permitted,
            dial_time=self.rules.dial_time,
            public_url=self.rules.public_url,
        )
        self.ledger = RunLedger(database, self.owner)
        self.driver = PlainDriver(self.ledger, self.work, self.clock, threads=threads)
        self._drivers.append(self.driver)
        return self.driver

    def change(self, **rules: object) -> None:
        self.rules = replace(self.rules, **rules)  # type: ignore[arg-type]
        self.rebuild()

    def close(self) -> None:
        for driver in self._drivers:
            driver.close()

    def contact(self, number: int | None = None, *, simulated: bool = False, timezone: str = ZONE) -> str:
        self._contacts_made += 1
        return self.contacts.add(
            name=f"Person {self._contacts_made}",
            phone=f"+120255501{self._contacts_made if number is None else number:02d}",
            timezone=timezone,
            pronunciation=None,
            plan=None,
            simulated=simulated,
            now=self.clock.now(),
        )

    def call(
        self, contact_id: str | None = None, *, window: timedelta | None = timedelta(hours=4), simulated: bool = False, plan: str = "daily"
    ) -> str:
        """A scheduled call: one whose window closes after `window`, or (None) one outside any window."""
        now = self.clock.now()
        contact_id = contact_id or self.contact()
        self._calls_made += 1
        with self.database.write() as session:
            made = create_call(
                session,
                contact=session.get_one(Contact, contact_id),
                origin=Origin.NOW if window is None else Origin.WINDOW,
                origin_key=f"test:{self._calls_made}",
                plan=plan,
                opens_at=now,
                closes_at=None if window is None else now + window,
                now=now,
                opening_date=None if window is None else now.date(),
                simulated=simulated,
            )
        assert made is not None
        return made

    def step(self) -> StepReport:
        """Look at what is due, and wait until it has been stepped: on a slow disk that takes longer than a look waits."""
        report = self.driver.step_due(self.clock.now())
        deadline = time_module.monotonic() + 20
        while self.driver.in_flight and time_module.monotonic() < deadline:
            time_module.sleep(0.005)
        return report

    def tick(self, seconds: float) -> StepReport:
        """Let time pass, then look."""
        self.clock.advance(seconds)
        return self.step()

    def view(self, call_id: str) -> CallView:
        return self.calls.find(call_id)

    def attempt(self, call_id: str, number: int = -1) -> Attempt:
        found = read_attempt(self.database, self.view(call_id).attempts[number].id)
        assert found is not None
        return found

    def run(self, call_id: str) -> Run:
        with self.database.read() as session:
            return session.query(Run).filter_by(subject_id=call_id).one()

    def row(self, call_id: str) -> ScheduledCall:
        with self.database.read() as session:
            return session.get_one(ScheduledCall, call_id)

    def says(
        self,
        call_id: str,
        status: CarrierStatus,
        *,
        sequence: int = 0,
        sid: str | None = None,
        attempt: int = -1,
        answered_by: str | None = None,
        sip: int | None = None,
    ) -> Applied:
        """A status callback arrives."""
        row = self.attempt(call_id, attempt)
        sid = sid or row.carrier_call_id
        assert sid is not None
        if sid in self.carrier.calls:
            self.carrier.calls[sid] = replace(self.carrier.calls[sid], status=status)
        return self.settlement.apply(
            StatusReport(
                attempt_id=row.id,
                carrier_call_id=sid,
                status=status,
                source="twilio:status",
                external_id=f"{sid}:{sequence}:{status}",
                sequence=sequence,
                sip_code=sip,
                answered_by=answered_by,
            ),
            self.clock.now(),
        )

    def verdict(self, call_id: str, rule: str) -> list[bool]:
        """The stored answers of one rule, oldest first."""
        return [verdict.allowed for verdict in self.calls.verdicts(call_id) if verdict.rule == rule]

    def is_over(self, call_id: str) -> bool:
        return self.view(call_id).is_final and self.run(call_id).state in ENDED_RUN_STATES

    def state(self, call_id: str) -> CallState:
        return CallState(self.view(call_id).state)


@pytest.fixture
def plans_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "plans"
    folder.mkdir()
    (folder / "daily.yaml").write_text(PLAN.format(name="daily", calls_per_day=1))
    (folder / "twice.yaml").write_text(PLAN.format(name="twice", calls_per_day=2))
    return folder


@pytest.fixture
def bench(database: Database, plans_dir: Path) -> Iterator[Bench]:
    made = Bench(database, plans_dir)
    yield made
    made.close()


@pytest.fixture
def sqlite_bench(sqlite_database: Database, plans_dir: Path) -> Iterator[Bench]:
    """For what depends on the bench's own clock: PostgreSQL measures leases by the server's."""
    made = Bench(sqlite_database, plans_dir)
    yield made
    made.close()


@pytest.fixture
def make_bench(plans_dir: Path) -> Callable[[Database], Bench]:
    return lambda database: Bench(database, plans_dir)
