"""kill -9 of each worker while somebody is on the phone: it comes back, the call settles, nobody is dialled twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def daemon(install: Callable[..., Any]) -> Any:
    return install().start()


@pytest.fixture(autouse=True)
def _nobody_is_rung_twice_at_once(daemon: Any) -> Iterator[None]:
    yield
    ledger = daemon.ledger()
    try:
        assert ledger.overlaps() == []
    finally:
        ledger.close()


def kill(daemon: Any, name: str) -> None:
    """Kill the worker and wait until the supervisor has another one up."""
    before = daemon.worker(name)
    assert before["state"] == "running", before
    os.kill(before["pid"], signal.SIGKILL)

    def back() -> Any:
        row = daemon.worker(name)
        return row if row["state"] == "running" and row["pid"] != before["pid"] else None

    after = daemon.until(back, f"another {name}", 60, every=0.5)
    assert after["restarts"] == before["restarts"] + 1
    assert "SIGKILL" in after["last_exit"]


def outcomes(call: dict[str, Any]) -> list[str]:
    return [attempt["outcome"] for attempt in call["attempts"]]


@pytest.mark.parametrize(("worker", "phone"), [("call-scheduler", "+12025550160"), ("webhook-server", "+12025550161")])
def test_a_conversation_outlives_the_worker_that_does_not_carry_it(daemon: Any, worker: str, phone: str) -> None:
    call = daemon.call_now(daemon.contact(f"Mia of {worker}", phone, "short"))
    daemon.until_answered(phone)
    kill(daemon, worker)
    over = daemon.until_over(call)
    assert (over["state"], outcomes(over)) == ("completed", ["answered"])
    assert daemon.journal(call)["complete"] is True
    assert [each.status for each in daemon.carried(phone)] == ["completed"]


def test_a_killed_window_scheduler_opens_no_window_twice_and_forgets_none(daemon: Any) -> None:
    first, second = daemon.contact("Nora", "+12025550162", "short"), daemon.contact("Olga", "+12025550163", "short")
    daemon.open_window(first)
    daemon.until_answered("+12025550162")
    pid = daemon.worker("window-scheduler")["pid"]
    os.kill(pid, signal.SIGKILL)
    # Due while nobody looks, or looked at by the new one: either way it is opened, once.
    daemon.open_window(second)
    daemon.until_answered("+12025550163")
    for contact in (first, second):
        ((call,),) = daemon.sql("SELECT id FROM scheduled_calls WHERE contact_id = ?", contact)
        assert daemon.until_over(call)["state"] == "completed"
    row = daemon.worker("window-scheduler")
    assert row["state"] == "running"
    assert row["pid"] != pid
    assert [len(daemon.carried(phone)) for phone in ("+12025550162", "+12025550163")] == [1, 1]


def test_a_killed_media_server_does_not_lose_the_call(daemon: Any) -> None:
    """Twilio goes on with the document when the stream breaks, so the conversation is taken up again in the same call."""
    phone = "+12025550185"
    call = daemon.call_now(daemon.contact("Pia", phone, "talk"))
    # Greeting, first question, the answer, and the second question has been played: it is the callee's turn.
    daemon.until_event(daemon.until_answered(phone), "mark", 3)
    kill(daemon, "media-server")
    over = daemon.until_over(call)
    assert (over["state"], outcomes(over)) == ("completed", ["answered"])
    assert [each.status for each in daemon.carried(phone)] == ["completed"]
    entry = daemon.journal(call)
    answers = {answer["checkpoint"]: answer["answer"] for answer in entry["body"]["answers"]}
    # What was said before the crash is not asked again, nor lost.
    assert entry["complete"] is True
    assert "tired" in answers["mood"]
    assert len(daemon.logged("call.stream_resumed")) == 1


def test_servers_that_are_restarted_serve_their_call_to_its_end(daemon: Any) -> None:
    """SIGTERM to both while somebody talks: one stream from beginning to end, and both are new afterwards."""
    phone = "+12025550164"
    call = daemon.call_now(daemon.contact("Quentin", phone, "talk"))
    daemon.until_event(daemon.until_answered(phone), "mark", 1)
    before = {name: daemon.worker(name)["pid"] for name in ("media-server", "webhook-server")}
    with ThreadPoolExecutor(2) as commands:
        restarts = [commands.submit(daemon.orch, "restart", name, seconds=120) for name in before]
        over = daemon.until_over(call)
        assert [restart.result().returncode for restart in restarts] == [0, 0], [restart.result() for restart in restarts]
    assert (over["state"], outcomes(over)) == ("completed", ["answered"])
    assert daemon.journal(call)["complete"] is True
    (attempt,) = over["attempts"]
    assert len(daemon.logged("media.stream_started", attempt=attempt["id"])) == 1
    assert daemon.logged("worker.drain_cut") == []
    for name, pid in before.items():
        row = daemon.worker(name)
        assert (row["state"], row["pid"] != pid) == ("running", True), row


def test_a_killed_phone_network_is_a_call_that_was_cut(daemon: Any) -> None:
    """The carrier itself went away: its calls are over, it says so when it is back, and the plan's one retry is dialled."""
    phone = "+12025550184"  # thinks at the first call, talks at the second
    call = daemon.call_now(daemon.contact("Rosa", phone, "talk"))
    daemon.until_answered(phone)
    kill(daemon, "phone-simulator")
    over = daemon.until_over(call)
    assert (over["state"], outcomes(over)) == ("completed", ["dropped", "answered"])
    assert len(daemon.carried(phone)) == 2


def test_killed_in_the_very_dial_it_never_dials_again(daemon: Any) -> None:
    """Whether the request went out nobody may know; what must not happen is a second one."""
    phone = "+12025550135"
    contact = daemon.contact("Sara", phone, "no-retry")
    pid = daemon.worker("call-scheduler")["pid"]
    call = daemon.call_now(contact)
    deadline = time.monotonic() + 20
    # No politeness between two looks: the moment is a few milliseconds long.
    while not daemon.sql("SELECT 1 FROM attempts WHERE scheduled_call_id = ?", call):
        assert time.monotonic() < deadline
    os.kill(pid, signal.SIGKILL)

    def known() -> bool:
        ((status, outcome),) = daemon.sql("SELECT status, outcome FROM attempts WHERE scheduled_call_id = ?", call)
        return outcome is not None or status == "unknown"

    daemon.until(known, "the verdict about a dial that was cut", 60)
    daemon.until(lambda: daemon.worker("call-scheduler")["state"] == "running", "another call-scheduler", 40, every=0.5)
    # Two rounds of the new one, asked for rather than waited for.
    for _ in range(2):
        daemon.done("trigger", "call_dispatch", "--wait")
        daemon.done("trigger", "call_reconciliation", "--wait")
    assert len(daemon.carried(phone)) <= 1
    assert daemon.sql("SELECT count(*) FROM attempts WHERE scheduled_call_id = ?", call) == [(1,)]
