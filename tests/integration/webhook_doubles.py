"""A webhook server over a database with one call in it, and the carrier's signature."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from core.calls.inbound import InboundCalls
from core.calls.settlement import Settlement
from core.clock import SystemClock
from core.conversation.orchestrator import Orchestrator
from core.domain.calls import AttemptStatus, Origin
from core.judge.rules import RulesJudge
from core.plans.library import PlanLibrary
from core.recordings.vault import Vault
from core.settings import CHECKOUT, load_settings
from core.storage.attempts import begin_attempt, lock_dial
from core.storage.calls import CallStore, create_call
from core.storage.contacts import ContactStore
from core.storage.control import ControlStore
from core.storage.conversations import CallContext, ConversationStore
from core.storage.database import Database
from core.storage.inbound import InboundStore
from core.storage.jobs import JobStore
from core.storage.journal import JournalStore
from core.storage.problems import ProblemStore
from core.storage.runs import Owner
from core.storage.schema import migrate
from core.storage.tables import Attempt, Contact, Run
from core.telephony.signature import SIGNATURE_HEADER, signature_of
from workers.webhook_server.access import AccessRules
from workers.webhook_server.app import create_app
from workers.webhook_server.parts import WebhookParts

TOKEN = "0123456789abcdef0123456789abcdef"
KEY = "the-api-key"
STREAM_KEY = b"k" * 32
SID = "CA" + "1" * 32
ACCOUNT = "AC" + "0" * 32
OWN_NUMBER = "+15005550006"
BASE = "http://127.0.0.1:8000"
PHONE = "+12025550123"


@dataclass
class World:
    parts: WebhookParts
    database: Database
    client: TestClient
    attempt_id: str

    def post(self, path: str, form: Mapping[str, str] | None = None, *, signed: bool = True, token: str = TOKEN):
        fields = {"CallSid": SID, "AccountSid": ACCOUNT, "To": PHONE, **(form or {})}
        headers = {SIGNATURE_HEADER: signature_of(token, BASE + path, fields.items())} if signed else {}
        return self.client.post(path, data=fields, headers=headers)

    def attempt(self) -> Attempt:
        with self.database.read() as session:
            return session.get_one(Attempt, self.attempt_id)

    def context(self) -> CallContext:
        context = self.parts.conversations.context(self.attempt_id)
        assert context is not None
        return context

    def change(self, **attributes: object) -> None:
        """Change the attempt's row."""
        with self.database.write() as session:
            attempt = session.get_one(Attempt, self.attempt_id)
            for name, value in attributes.items():
                setattr(attempt, name, value)

    def with_parts(self, **changed: object) -> World:
        """The same world behind another server."""
        parts = replace(self.parts, **changed)
        return World(parts, self.database, client_of(parts), self.attempt_id)


def make_world(database: Database, tmp_path: Path, mode: str, *, draining_since: datetime | None = None, live: dict | None = None) -> World:
    now = datetime.now(UTC)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ORCH_HOME", str(tmp_path))
        settings = load_settings()
    plans = PlanLibrary(CHECKOUT / "plans")
    contacts = ContactStore(database)
    contact_id = contacts.add(
        name="Ada", phone=PHONE, timezone="America/New_York", pronunciation="Ay-da", plan=None, simulated=True, now=now
    )
    with database.write() as session:
        contact = session.get_one(Contact, contact_id)
        call_id = create_call(
            session,
            contact=contact,
            origin=Origin.NOW,
            origin_key="now:1",
            plan="medication-check-in",
            opens_at=now,
            closes_at=None,
            now=now,
            simulated=True,
        )
        assert call_id is not None
        session.flush()
        run = session.scalars(select(Run)).one()
        rows = lock_dial(session, call_id, now)
        attempt = begin_attempt(
            session,
            rows,
            run,
            Owner.this_process(),
            carrier="simulator",
            account="AC-ledger",
            mode=mode,
            now=now,
            send_before=now + timedelta(seconds=10),
            dial_until=now + timedelta(minutes=5),
        )
        attempt.status = AttemptStatus.QUEUED
        attempt.carrier_call_id = SID
        attempt_id = attempt.id
    parts = WebhookParts(
        settings=settings,
        clock=SystemClock(),
        account_sid=ACCOUNT,
        auth_token=TOKEN,
        own_number=OWN_NUMBER,
        stream_key=STREAM_KEY,
        installation="0123456789abcdef",
        access=AccessRules(KEY, open_to_loopback=True),
        settlement=Settlement(database, plans),
        judge=RulesJudge(),
        orchestrator=Orchestrator(RulesJudge(), "orch"),
        plans=plans,
        conversations=ConversationStore(database),
        contacts=contacts,
        calls=CallStore(database),
        control=ControlStore(database),
        journal=JournalStore(database),
        jobs=JobStore(database),
        problems=ProblemStore(database),
        inbound=InboundCalls(InboundStore(database), plans, "Acme"),
        inbound_calls=InboundStore(database),
        draining_since=lambda: draining_since,
        live_jobs=lambda: live,
    )
    return World(parts, database, client_of(parts), attempt_id)


@contextmanager
def a_database(folder: Path, vault: Vault) -> Iterator[Database]:
    """For tests that share one: a schema takes longer to make than a webhook to answer."""
    url = f"sqlite:///{folder / 'orch.db'}"
    migrate(url)
    database = Database(url, vault)
    try:
        yield database
    finally:
        database.close()


def client_of(parts: WebhookParts) -> TestClient:
    return TestClient(create_app(parts), base_url=BASE, client=("127.0.0.1", 50000))


def verbs(response) -> list[ET.Element]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/xml")
    return list(ET.fromstring(response.text))


def tags(response) -> list[str]:
    return [verb.tag for verb in verbs(response)]
