"""SIGTERM to a real webhook server: the call under way is served to its end, what is dialled since is turned away, then it goes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from core import bootstrap
from core.settings import CHECKOUT, load_settings
from core.storage.database import Database
from core.telephony.signature import SIGNATURE_HEADER, signature_of
from tests.integration.webhook_doubles import SID, World, make_world


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    base: str
    account: bootstrap.WebhookAccount
    world: World

    def post(self, path: str, attempt: str, **form: str) -> httpx.Response:
        url = f"{self.base}/webhooks/twilio/{path}?attempt={attempt}"
        fields = {"CallSid": SID, "AccountSid": self.account.sid, **form}
        headers = {SIGNATURE_HEADER: signature_of(self.account.auth_token, url, fields.items())}
        return httpx.post(url, data=fields, headers=headers, timeout=10, trust_env=False)

    def health(self) -> int:
        return httpx.get(f"{self.base}/health", timeout=5, trust_env=False).status_code

    def until_health(self, wanted: int, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.health() == wanted:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, f"health was not {wanted} within {seconds:g} s"
            time.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {"ORCH_HOME": str(tmp_path), "ORCH_PORT": str(port), "USE_ENHANCED_CALLS": "false"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    bootstrap.initialise(settings)
    database: Database = bootstrap.open_database(settings)
    world = make_world(database, tmp_path, "standard")
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.webhook_server", "--drain-seconds=30"],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )
    try:
        found = Server(process, f"http://127.0.0.1:{port}", bootstrap.webhook_account(settings), world)
        found.until_health(200)
        yield found
    finally:
        process.kill()
        process.wait(10)
        database.close()


def first_verb(response: httpx.Response) -> ET.Element:
    assert response.status_code == 200, response.text
    return ET.fromstring(response.text)[0]


def test_a_call_under_way_is_served_to_its_end_and_a_new_one_is_turned_away(server: Server) -> None:
    world = server.world
    gather = first_verb(server.post("voice", world.attempt_id))
    assert gather.tag == "Gather"
    server.process.send_signal(signal.SIGTERM)
    server.until_health(503, 5)
    # The talk goes on.
    answered = server.post("gather", f"{world.attempt_id}&turn=1", SpeechResult="yes I did")
    assert first_verb(answered).tag == "Gather"
    # One that was dialled since is not begun.
    world.change(created_at=datetime.now(UTC) + timedelta(seconds=1))
    assert first_verb(server.post("voice", world.attempt_id)).tag == "Say"
    # A second SIGTERM would skip the waiting; one does not end it while the call lasts.
    assert server.process.poll() is None
    began = time.monotonic()
    assert server.post("status", world.attempt_id, CallStatus="completed", SequenceNumber="3", CallDuration="9").status_code == 204
    assert server.process.wait(10) == 0
    assert time.monotonic() - began < 6
    assert world.attempt().ended_at is not None
