"""What a newcomer runs first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SHIPPED = {
    "ORCH_PLANS_DIR": "",
    "ORCH_SIMULATOR_CALLEES": "",
    "ORCH_RING_SECONDS": "",
    "ORCH_MIN_GAP_SECONDS": "",
    "ORCH_CALLS_PER_SECOND": "",
}


@pytest.mark.timeout(400)
def test_the_demo_settles_all_five_and_shows_the_journal(install: Callable[..., Any]) -> None:
    daemon = install(**SHIPPED).start()
    ran = daemon.orch("demo", seconds=330)
    assert ran.returncode == 0, ran.stdout + ran.stderr + daemon.last_words()
    calls = {call["contact_name"]: call for call in daemon.json("call", "list")}
    outcomes = {name: [attempt["outcome"] for attempt in call["attempts"]] for name, call in calls.items()}
    assert outcomes == {
        "Ada": ["answered"],
        "Ben": ["busy", "answered"],
        "Cleo": ["no_answer", "no_answer"],
        "Dan": ["hung_up_early"],
        "Eve": ["voicemail"],
    }
    states = {name: call["state"] for name, call in calls.items()}
    assert states == {"Ada": "completed", "Ben": "completed", "Cleo": "missed", "Dan": "completed", "Eve": "missed"}
    for name in ("Ada", "Ben", "Dan"):
        assert f"Journal: {name}" in ran.stdout
        assert daemon.journal(calls[name]["id"])["complete"] is (name != "Dan")
    ledger = daemon.ledger()
    try:
        assert ledger.overlaps() == []
        assert ledger.warnings() == []
    finally:
        ledger.close()
    # It goes on running, as it says.
    assert daemon.json("status")["running"] is True
