"""Lists of calls as the vendor's own SDK asks for them: filters, pages, deletion."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def history(rig: Any) -> list[str]:
    """Five finished calls, whose rings began at noon of five successive days and whose ends came an hour later; the oldest first."""
    rig.start(speed=100.0)
    sids = [rig.order("+12025550170") for _ in range(5)]
    for sid in sids:
        rig.until_over(sid)
    with closing(sqlite3.connect(rig.network._ledger_path, isolation_level=None, timeout=10)) as ledger:
        for day, sid in enumerate(sids):
            started = NOON + timedelta(days=day)
            times = (started.timestamp(), (started + timedelta(hours=1)).timestamp(), sid)
            ledger.execute("UPDATE calls SET started_at = ?, ended_at = ? WHERE sid = ?", times)
    return sids


@pytest.mark.parametrize(
    ("filters", "days"),
    [
        ({}, [4, 3, 2, 1, 0]),
        ({"start_time": date(2026, 3, 11)}, [1]),
        ({"start_time_after": date(2026, 3, 12)}, [4, 3, 2]),
        ({"start_time_before": date(2026, 3, 12)}, [1, 0]),
        ({"start_time_after": NOON + timedelta(days=1), "start_time_before": NOON + timedelta(days=2)}, [2, 1]),
        ({"start_time_after": NOON + timedelta(days=1, seconds=1)}, [4, 3, 2]),
        ({"end_time": date(2026, 3, 14)}, [4]),
        ({"end_time_before": NOON + timedelta(hours=1)}, [0]),
        ({"end_time_after": NOON + timedelta(hours=2)}, [4, 3, 2, 1]),
        ({"status": "failed"}, [4, 3, 2, 1, 0]),
        ({"status": "busy"}, []),
        ({"to": "+12025550170"}, [4, 3, 2, 1, 0]),
        ({"to": "+12025550171"}, []),
        ({"from_": "+15005550006", "end_time": date(2026, 3, 10)}, [0]),
        ({"parent_call_sid": "CA" + "0" * 32}, []),
    ],
)
def test_the_sdks_filters_find_what_they_say(rig: Any, history: list[str], filters: dict[str, Any], days: list[int]) -> None:
    found = rig.sdk().calls.list(page_size=2, **filters)

    assert [call.sid for call in found] == [history[day] for day in days]


def test_the_sdk_follows_the_pages_and_keeps_its_filters(rig: Any, history: list[str]) -> None:
    client = rig.sdk()

    streamed = [call.sid for call in client.calls.stream(status="failed", page_size=2)]
    first = client.calls.page(status="failed", page_size=2)
    second = client.calls.get_page(first.next_page_url)
    some = client.calls.list(limit=3, page_size=2)

    assert streamed == history[::-1]
    assert [call.sid for call in first] + [call.sid for call in second] == history[:0:-1]
    assert "Status=failed" in first.next_page_url
    assert len(some) == 3


@pytest.mark.parametrize(
    "query",
    [
        {"PageSize": "0"},
        {"PageSize": "1001"},
        {"PageSize": "many"},
        {"Page": "-1"},
        {"Page": "1"},
        {"PageToken": "PA1"},
        {"Status": "initiated"},
        {"StartTime": "yesterday"},
        {"StartTime>": "2026-02-30"},
        {"EndTime<": "2026-03-10T25:00:00Z"},
        {"StartTime=": "2026-03-10"},
        {"Colour": "red"},
    ],
)
def test_a_query_that_means_nothing_is_refused(rig: Any, query: dict[str, str]) -> None:
    rig.start()

    answer = rig.ask("GET", "/Calls.json", **query)

    assert (answer.status_code, answer.json()["code"]) == (400, 20001)


def test_a_deleted_call_is_gone_for_the_carrier_and_kept_by_the_ledger(rig: Any, history: list[str]) -> None:
    client = rig.sdk()

    assert client.calls(history[2]).delete() is True

    assert [call.sid for call in client.calls.list()] == [history[n] for n in (4, 3, 1, 0)]
    with pytest.raises(TwilioRestException) as caught:
        client.calls(history[2]).fetch()
    assert (caught.value.status, caught.value.code) == (404, 20404)
    assert rig.call(history[2]).to == "+12025550170"
    assert sum(map(len, rig.ledger.rung().values())) == 5


def test_a_call_that_goes_on_is_not_deleted(rig: Any) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="60"/>')]
    sid = rig.dial("+12025550199")

    answer = rig.ask("DELETE", f"/Calls/{sid}.json")

    assert (answer.status_code, answer.json()["code"]) == (400, 21220)
    rig.carrier().hang_up(sid)


def test_the_sdk_creates_reads_redirects_and_ends_a_call(rig: Any) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="60"/>')]
    client = rig.sdk()

    made = client.calls.create(to="+12025550199", from_=rig.caller, url=rig.us.url("/voice"))
    rig.until(lambda: client.calls(made.sid).fetch().status == "in-progress")
    moved = client.calls(made.sid).update(twiml="<Response><Say>Please wait.</Say><Pause length='60'/></Response>")
    rig.until(lambda: "Say" in rig.verbs(made.sid))
    ended = client.calls(made.sid).update(status="completed")

    assert (made.status, moved.status, ended.status) == ("queued", "in-progress", "completed")
    assert ended.start_time is not None
    assert ended.date_created.tzinfo is not None
    assert int(ended.duration) >= 1
    with pytest.raises(TwilioRestException) as caught:
        client.calls(made.sid).update(status="completed")
    assert caught.value.code == 21220


def test_a_time_limit_can_be_set_while_the_call_goes_on(rig: Any) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="60"/>')]
    sid = rig.order("+12025550199")
    rig.until(lambda: rig.call(sid).status == "in-progress")

    answer = rig.ask("POST", f"/Calls/{sid}.json", TimeLimit="1", StatusCallback=rig.us.url("/status"))

    assert answer.status_code == 200
    call = rig.until_over(sid)
    assert (call.ended_at - call.answered_at).total_seconds() < 5
    assert rig.us.statuses == ["completed"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Status": "busy"},
        {"Url": "http://us/x", "Twiml": "<Response/>"},
        {"TimeLimit": "0"},
        {"Url": "http://us/x", "Method": "PUT"},
        {"Method": "POST"},
        {"Colour": "red"},
    ],
)
def test_an_update_that_means_nothing_is_refused(rig: Any, fields: dict[str, str]) -> None:
    rig.start()
    sid = rig.order("+12025550130")

    answer = rig.ask("POST", f"/Calls/{sid}.json", **fields)

    assert (answer.status_code, answer.json()["code"]) == (400, 20001)
