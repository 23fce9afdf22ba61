"""What can be seen of the network from outside: its own resources, and what survives a kill."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from workers.phone_simulator.ledger import Ledger
from workers.phone_simulator.ledger_writer import LedgerWriter

HANG_UP = "<Hangup/>"


def test_the_ledger_answers_how_often_a_number_was_rung_when_and_by_whom(rig: Any) -> None:
    rig.start(speed=20.0)
    rig.take_calls()
    rig.us.answers |= {"/voice": [rig.twiml(HANG_UP)], "/incoming": [rig.twiml(HANG_UP)]}
    for attempt in ("a-1", "a-2"):
        rig.until_over(rig.dial("+12025550120", attempt=attempt))
    rig.until_over(rig.dial("+12025550170", attempt="a-3"))
    rig.until_over(rig.ask("POST", "/simulator/calls", **{"from": "+12025550120"}).json()["sid"])

    ledger = rig.ask("GET", "/simulator/ledger").json()

    assert (ledger["calls"], ledger["open"], ledger["at_once"]) == (3, [], [])
    rung = {each["number"]: each for each in ledger["numbers"]}
    busy_then_answered, rejected = rung["+12025550120"], rung["+12025550170"]
    assert [busy_then_answered[name] for name in ("placed", "rung", "answered")] == [2, 2, 1]
    assert [rejected[name] for name in ("placed", "rung", "answered")] == [1, 0, 0]
    assert [(call["attempt"], call["status"]) for call in busy_then_answered["calls"]] == [("a-1", "busy"), ("a-2", "completed")]
    assert all(call["from"] == rig.caller and call["ended_at"] for call in busy_then_answered["calls"])


def test_the_ledger_shows_who_was_rung_twice_at_once(rig: Any) -> None:
    rig.start()
    first, second = (rig.dial("+12025550130", attempt=attempt) for attempt in ("a-1", "a-2"))

    ledger = rig.ask("GET", "/simulator/ledger").json()

    assert ledger["at_once"] == [[first, second]]
    assert ledger["open"] == [first, second]


def test_everything_about_one_call_is_shown_by_the_beginning_of_its_sid(rig: Any) -> None:
    rig.start(speed=20.0)
    rig.us.answers |= {"/voice": [rig.twiml('<Gather input="speech" action="/gather"/>')], "/gather": [rig.twiml(HANG_UP)]}
    sid = rig.dial()
    rig.until_over(sid)

    found = rig.ask("GET", f"/simulator/calls/{sid[:12]}").json()

    assert found["sid"] == sid
    assert found["attempt"] == "a-1"
    kinds = {event["kind"] for event in found["events"]}
    assert kinds >= {"request", "status", "webhook", "verb", "said"}
    documents = [event["body"] for event in found["events"] if event["kind"] == "webhook" and event["purpose"] == "voice"]
    assert documents == [rig.twiml('<Gather input="speech" action="/gather"/>')]
    assert [event["text"] for event in found["events"] if event["kind"] == "said"] == ["i am well"]


def test_phones_and_calls_are_listed(rig: Any) -> None:
    rig.start(speed=20.0)
    sids = [rig.order("+12025550170") for _ in range(3)]
    for sid in sids:
        rig.until_over(sid)

    phones = rig.ask("GET", "/simulator/phones").json()
    calls = rig.ask("GET", "/simulator/calls", limit="2").json()["calls"]

    assert phones["our_numbers"] == [rig.caller]
    assert {"numbers": ["+12025550120"], "behaviours": ["busy", "talks"], "choice": "in turn", "weather": None} in phones["phones"]
    assert phones["behaviours"]["voicemail"] == "voicemail"
    assert (phones["weather"], phones["weather_name"]) == ({}, "calm")
    assert [call["sid"] for call in calls] == [sids[2], sids[1]]


def test_nobody_looks_in_without_the_accounts_token(rig: Any) -> None:
    rig.start()
    for path in ("/simulator/ledger", "/simulator/phones", "/simulator/calls"):
        assert httpx.get(f"{rig.network.base_url}{path}").status_code == 401
    assert httpx.post(f"{rig.network.base_url}/simulator/calls", json={"from": "+12025550110"}).status_code == 401
    assert rig.ledger.calls() == []


def test_what_is_not_there_is_not_found(rig: Any) -> None:
    rig.start()

    for path in ("/simulator/weather", "/simulator/calls/CA0", "/simulator/calls/C"):
        assert rig.ask("GET", path).status_code == 404
    assert rig.ask("GET", "/simulator/calls", limit="many").status_code == 400
    assert (
        httpx.post(
            f"{rig.network.base_url}/simulator/calls",
            content=b"[",
            headers={"Content-Type": "application/json"},
            auth=(rig.account, rig.token),
        ).json()["message"]
        == "the body is not JSON"
    )


def test_a_ledger_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(
            """
            CREATE TABLE calls (number INTEGER PRIMARY KEY, sid TEXT NOT NULL UNIQUE, to_number TEXT NOT NULL, from_number TEXT NOT NULL,
                status TEXT NOT NULL, direction TEXT NOT NULL, answered_by TEXT, behaviour TEXT NOT NULL, created_at REAL NOT NULL,
                updated_at REAL NOT NULL, started_at REAL, answered_at REAL, ended_at REAL, seconds INTEGER, queue_ms INTEGER NOT NULL,
                sip_code INTEGER, callbacks INTEGER NOT NULL DEFAULT 0, request TEXT NOT NULL);
            CREATE TABLE callbacks (id INTEGER PRIMARY KEY, call_sid TEXT NOT NULL, url TEXT NOT NULL, method TEXT NOT NULL,
                fields TEXT NOT NULL, done_at REAL);
            CREATE TABLE events (id INTEGER PRIMARY KEY, call_sid TEXT, at REAL NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL);
            INSERT INTO calls VALUES (1, 'CA1', '+12025550110', '+15005550006', 'ringing', 'outbound-api', NULL, 'talks', 1, 1, 1, NULL,
                NULL, NULL, 0, NULL, 1, '{}');
            INSERT INTO callbacks VALUES (1, 'CA1', 'http://us/status', 'POST', '[["CallSid", "CA1"]]', NULL);
            """
        )

    writer = LedgerWriter(path)

    assert [call.sid for call in writer.open_calls()] == ["CA1"]
    waiting = writer.next_callback("CA1")
    assert waiting is not None
    assert (waiting.purpose, waiting.fields) == ("status", [("CallSid", "CA1")])
    assert writer.visits("+12025550110", "outbound-api") == 1
    writer.close()
    reader = Ledger(path)
    assert reader.calls()[0].visit == 0
    reader.close()
