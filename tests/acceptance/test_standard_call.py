"""One call by the carrier's own <Say> and <Gather>, from its window to the journal."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from core.telephony.signature import SIGNATURE_HEADER, signature_of
from core.telephony.simulated import simulated_account

PHONE = "+12025550111"
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Story:
    daemon: Any
    contact: str
    call: dict[str, Any]


@pytest.fixture(scope="module")
def story(install: Callable[..., Any]) -> Story:
    daemon = install(USE_ENHANCED_CALLS="false").start()
    contact = daemon.contact("Grace", PHONE, plan="talk")
    daemon.open_window(contact)
    (call,) = daemon.until(lambda: daemon.calls_of(contact), "the window's call", 20)
    return Story(daemon, contact, daemon.until_over(call["id"]))


def test_the_call_is_talked_through_without_a_media_stream(story: Story) -> None:
    assert story.call["state"] == "completed", story.call
    assert [(a["mode"], a["outcome"]) for a in story.call["attempts"]] == [("standard", "answered")]
    (carried,) = story.daemon.carried(PHONE)
    ledger = story.daemon.ledger()
    try:
        assert not ledger.events(carried.sid, "stream")
        verbs = [event.detail for event in ledger.events(carried.sid, "verb")]
        assert any("Gather" in str(verb) for verb in verbs), verbs
        assert not any("Connect" in str(verb) for verb in verbs), verbs
        assert ledger.warnings(carried.sid) == []
    finally:
        ledger.close()


def test_the_log_tells_the_story_in_order(story: Story, in_order: Callable[..., bool]) -> None:
    wanted = ["window.opened", "call.scheduled", "call.pending_found", "call.dialled", "call.settled"]
    seen = [line["event"] for line in story.daemon.logged(*wanted)]
    assert in_order(wanted, seen), seen
    (dialled,) = story.daemon.logged("call.dialled")
    assert dialled["mode"] == "standard"
    assert dialled["to"] == "+1202***0111"


def test_the_journal_holds_exactly_what_was_answered(story: Story) -> None:
    entry = story.daemon.journal(story.call["id"])
    assert entry["complete"] is True
    answers = {answer["checkpoint"]: answer["answer"] for answer in entry["body"]["answers"]}
    # The carrier writes down what it heard, and the simulator hears perfectly; a yes is kept as a yes.
    assert answers == {"mood": "i feel pretty good", "again": "yes"}
    assert [turn["contact"] for turn in entry["body"]["transcript"] if turn["contact"]] == ["i feel pretty good", "yes please"]


def test_nothing_is_recorded_and_nothing_said_is_logged(story: Story) -> None:
    recordings = story.daemon.home / "data" / "recordings"
    assert not recordings.exists() or not any(recordings.iterdir())
    refused = story.daemon.orch("recording", "export", story.call["id"], "never.wav")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    for path in (story.daemon.home / "logs").iterdir():
        text = path.read_bytes()
        for words in (b"pretty good", b"yes please", b"How are you today", PHONE.encode(), b"Grace"):
            assert words not in text, f"{words!r} is in {path.name}"


def test_a_killed_webhook_server_is_waited_for_and_nobody_is_dialled_twice(story: Story) -> None:
    """The whole talk goes through it. Its socket stays open at the supervisor, so the next turn waits for the next server."""
    daemon, phone = story.daemon, "+12025550160"
    call = daemon.call_now(daemon.contact("Hedy", phone, plan="no-retry"))
    daemon.until_event(daemon.until_answered(phone), "verb", 1)
    before = daemon.worker("webhook-server")
    os.kill(before["pid"], signal.SIGKILL)
    over = daemon.until_over(call)
    assert [attempt["outcome"] for attempt in over["attempts"]] == ["answered"], over
    assert daemon.journal(call)["complete"] is True
    assert [each.status for each in daemon.carried(phone)] == ["completed"]
    row = daemon.worker("webhook-server")
    assert row["pid"] != before["pid"]
    assert "SIGKILL" in row["last_exit"]
    ledger = daemon.ledger()
    try:
        assert ledger.overlaps() == []
    finally:
        ledger.close()


def test_a_signed_webhook_for_a_call_nobody_placed_is_a_problem_that_status_shows(story: Story) -> None:
    daemon, sid = story.daemon, "CA" + "e" * 32
    account = simulated_account(daemon.home / "keys")
    url = f"http://127.0.0.1:{daemon.environment['ORCH_PORT']}/webhooks/twilio/voice?attempt={'0' * 32}"
    fields = {"CallSid": sid, "AccountSid": account.account_sid, "Direction": "outbound-api"}
    for _ in range(3):
        headers = {SIGNATURE_HEADER: signature_of(account.auth_token, url, fields.items())}
        answer = httpx.post(url, data=fields, headers=headers, timeout=20, trust_env=False)
        assert (answer.status_code, "<Hangup" in answer.text) == (200, True)

    def shown() -> list[str]:
        problems = json.loads(daemon.orch("status", "--json").stdout)["problems"]
        return [problem["text"] for problem in problems if sid in problem["text"]]

    daemon.until(shown, "the problem in `orch status`", 20, every=0.5)
    assert len(shown()) == 1
