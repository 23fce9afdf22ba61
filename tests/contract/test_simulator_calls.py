"""A call's way through the network, as its REST interface and its webhooks tell it."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

HANG_UP = "<Hangup/>"


def post(rig: Any, path: str = "", /, **changes: Any) -> httpx.Response:
    order = {"To": "+12025550110", "From": rig.caller, "Url": rig.us.url("/voice"), **changes}
    url = f"{rig.network.base_url}/2010-04-01/Accounts/{rig.account}/Calls{path}.json"
    return httpx.post(url, data={k: v for k, v in order.items() if v is not None}, auth=(rig.account, rig.token))


def get(rig: Any, path: str, **query: Any) -> httpx.Response:
    return httpx.get(f"{rig.network.base_url}{path}", params=query or None, auth=(rig.account, rig.token))


def test_a_created_call_is_described_with_every_field(rig: Any) -> None:
    rig.start()

    answer = post(rig)

    assert answer.status_code == 201
    call = answer.json()
    assert call["status"] == "queued"
    assert call["direction"] == "outbound-api"
    assert call["to_formatted"] == "(202) 555-0110"
    assert call["queue_time"] == "0"
    assert [call[name] for name in ("start_time", "end_time", "duration", "answered_by", "price")] == [None] * 5
    assert parsedate_to_datetime(call["date_created"]).utcoffset() is not None
    assert call["uri"] == f"/2010-04-01/Accounts/{rig.account}/Calls/{call['sid']}.json"
    assert call["subresource_uris"]["recordings"].endswith(f"{call['sid']}/Recordings.json")
    assert set(call) >= {
        *("sid", "account_sid", "from", "from_formatted", "phone_number_sid", "end_time", "price_unit", "date_updated"),
        *("parent_call_sid", "group_sid", "trunk_sid", "caller_name", "forwarded_from", "api_version"),
    }


def test_an_answered_call_reports_each_step_in_order_and_signed(rig: Any) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml(HANG_UP)]

    call = rig.until_over(rig.dial())

    assert rig.us.statuses == ["initiated", "ringing", "in-progress", "completed"]
    callbacks = rig.us.to("/status")
    assert [hit.fields["SequenceNumber"] for hit in callbacks] == ["0", "1", "2", "3"]
    assert all(hit.authentic for hit in rig.us.hits)
    assert all(hit.query == {"attempt": "a-1"} for hit in rig.us.hits)
    assert callbacks[0].fields["CallbackSource"] == "call-progress-events"
    assert parsedate_to_datetime(callbacks[0].fields["Timestamp"]).utcoffset() is not None
    assert "CallDuration" not in callbacks[2].fields
    last = callbacks[3].fields
    assert (last["SipResponseCode"], last["CallDuration"], last["Duration"]) == ("200", str(call.seconds), "1")
    (voice,) = rig.us.to("/voice")
    assert voice.fields["CallStatus"] == "in-progress"
    assert {"CallSid", "AccountSid", "From", "To", "Caller", "Called", "Direction", "ApiVersion", "FromCity"} <= set(voice.fields)


@pytest.mark.parametrize(
    ("number", "status", "sip_code", "steps"),
    [
        ("+12025550120", "busy", "486", ["initiated", "ringing", "busy"]),
        ("+12025550130", "no-answer", "487", ["initiated", "ringing", "no-answer"]),
        ("+12025550170", "failed", "404", ["initiated", "failed"]),
    ],
)
def test_a_call_that_does_not_connect_says_why(rig: Any, number: str, status: str, sip_code: str, steps: list[str]) -> None:
    rig.start(speed=60.0)

    call = rig.until_over(rig.dial(number))

    assert call.status == status
    assert rig.us.statuses == steps
    assert rig.us.to("/status")[-1].fields["SipResponseCode"] == sip_code
    assert rig.us.to("/status")[-1].fields["CallDuration"] == "0"
    assert rig.us.to("/voice") == []


def test_it_rings_as_long_as_the_caller_asked(rig: Any) -> None:
    rig.start(speed=20.0)

    call = rig.until_over(rig.dial("+12025550130", ring_seconds=20))

    assert 0.95 < (call.ended_at - call.started_at).total_seconds() < 3


def test_without_a_list_of_events_only_the_end_is_reported(rig: Any) -> None:
    rig.start(speed=20.0)

    sid = post(rig, To="+12025550120", StatusCallback=rig.us.url("/status")).json()["sid"]
    rig.until_over(sid)

    assert rig.us.statuses == ["busy"]


def test_successive_calls_to_a_number_meet_its_behaviours_in_turn(rig: Any) -> None:
    rig.start(speed=10.0)
    rig.us.answers["/voice"] = [rig.twiml(HANG_UP)]

    ends = [rig.until_over(rig.dial("+12025550120")).status for _ in range(3)]

    assert ends == ["busy", "completed", "completed"]
    assert rig.ledger.overlaps() == []


def test_calls_wait_in_the_queue_for_their_second(rig: Any) -> None:
    rig.start(calls_per_second=4.0)
    rig.us.answers["/voice"] = [rig.twiml(HANG_UP)]

    calls = [post(rig, To=f"+1202555011{n}").json() for n in range(4)]

    estimates = [int(call["queue_time"]) for call in calls]
    assert estimates[0] == 0
    assert estimates == sorted(estimates)
    assert 300 < estimates[3] <= 750
    started = [rig.until_over(call["sid"]).started_at for call in calls]
    assert 0.6 < (started[3] - started[0]).total_seconds() < 3


def test_a_ringing_call_can_be_cancelled_and_a_live_one_completed(rig: Any) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="60"/>')]
    ringing, live = rig.dial("+12025550130"), rig.dial("+12025550199")
    rig.until(lambda: rig.call(ringing).status == "ringing" and rig.call(live).status == "in-progress")

    refused = post(rig, f"/{live}", To=None, From=None, Url=None, Status="canceled")
    cancelled = post(rig, f"/{ringing}", To=None, From=None, Url=None, Status="canceled")
    completed = post(rig, f"/{live}", To=None, From=None, Url=None, Status="completed")

    assert (refused.status_code, refused.json()["code"]) == (400, 21220)
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "canceled")
    assert (completed.status_code, completed.json()["status"]) == (200, "completed")
    again = post(rig, f"/{live}", To=None, From=None, Url=None, Status="completed")
    assert (again.status_code, again.json()["code"]) == (400, 21220)


def test_a_live_call_can_be_sent_to_another_document(rig: Any) -> None:
    rig.start()
    rig.us.answers |= {"/voice": [rig.twiml('<Pause length="60"/>')], "/elsewhere": [rig.twiml(HANG_UP)]}
    sid = rig.dial("+12025550199")
    rig.until(lambda: rig.us.to("/voice"))

    answer = post(rig, f"/{sid}", To=None, From=None, Url=rig.us.url("/elsewhere"))

    assert answer.status_code == 200
    assert rig.until_over(sid).status == "completed"
    assert len(rig.us.to("/elsewhere")) == 1


def test_a_call_ends_at_its_time_limit(rig: Any) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="60"/>')]

    call = rig.until_over(rig.dial("+12025550199", max_seconds=1))

    assert call.status == "completed"
    assert call.seconds in {1, 2, 3}


def test_machine_detection_reports_while_the_call_goes_on(rig: Any) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="1"/>')]

    sid = rig.dial("+12025550150", amd_url=rig.us.url("/amd?attempt=a-1"))
    call = rig.until_over(sid)

    (hit,) = rig.us.to("/amd")
    assert hit.authentic
    assert (hit.fields["AnsweredBy"], hit.fields["CallSid"]) == ("machine_start", sid)
    assert hit.fields["MachineDetectionDuration"] == "500"
    assert call.answered_by == "machine_start"


def test_detection_that_is_not_asynchronous_comes_with_the_voice_request(rig: Any) -> None:
    rig.start(speed=5.0)
    rig.us.answers["/voice"] = [rig.twiml(HANG_UP)]

    rig.until_over(post(rig, To="+12025550150", MachineDetection="Enable").json()["sid"])

    assert rig.us.to("/voice")[0].fields["AnsweredBy"] == "machine_start"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"To": None}, 400, 21201),
        ({"From": None}, 400, 21213),
        ({"Url": None}, 400, 21205),
        ({"Url": "nowhere"}, 400, 21205),
        ({"Url": "http://my_host/voice"}, 400, 21205),
        ({"StatusCallback": "ftp://x/y"}, 400, 21609),
        ({"StatusCallbackEvent": "answer"}, 400, 21626),
        ({"From": "+12125550100"}, 400, 21210),
        ({"From": "orch"}, 400, 21212),
        ({"From": "+15005550001"}, 400, 21212),
        ({"To": "12025550110"}, 400, 21211),
        ({"To": "+1202"}, 400, 21211),
        ({"To": "+15005550001"}, 400, 21217),
        ({"To": "+15005550002"}, 400, 21214),
        ({"To": "+15005550003"}, 400, 21215),
        ({"To": "+15005550004"}, 400, 21216),
        ({"SendDigits": "1x"}, 400, 21206),
        ({"ApplicationSid": "AP" + "0" * 32}, 400, 21218),
        ({"Timeout": "soon"}, 400, 20001),
        ({"Record": "yes"}, 400, 20001),
    ],
)
def test_a_wrong_order_is_refused_with_twilios_code(rig: Any, changes: dict[str, Any], status: int, code: int) -> None:
    rig.start()

    answer = post(rig, **changes)

    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (status, code, status)
    assert answer.json()["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
    assert rig.ledger.calls() == []


def test_wrong_credentials_and_unknown_things_are_refused(rig: Any) -> None:
    rig.start()
    base = f"{rig.network.base_url}/2010-04-01/Accounts"

    wrong = httpx.get(f"{base}/{rig.account}/Calls.json", auth=(rig.account, "guess"))
    none = httpx.get(f"{base}/{rig.account}/Calls.json")
    other = httpx.get(f"{base}/AC{'0' * 32}/Calls.json", auth=(rig.account, rig.token))
    missing = httpx.get(f"{base}/{rig.account}/Calls/CA{'0' * 32}.json", auth=(rig.account, rig.token))
    nowhere = httpx.get(f"{base}/{rig.account}/Faxes.json", auth=(rig.account, rig.token))

    assert [answer.status_code for answer in (wrong, none, other, missing, nowhere)] == [401, 401, 404, 404, 404]
    assert [answer.json()["code"] for answer in (wrong, none, other, missing, nowhere)] == [20003, 20003, 20404, 20404, 20404]


def test_too_many_requests_at_once_are_refused(rig: Any) -> None:
    rig.start(rest_concurrency=0)

    answer = post(rig)

    assert (answer.status_code, answer.json()["code"]) == (429, 20429)


def test_the_list_is_filtered_and_paged_newest_first(rig: Any) -> None:
    rig.start(speed=50.0)
    sids = [post(rig, To="+12025550170").json()["sid"] for _ in range(5)]
    other = post(rig, To="+12025550120").json()["sid"]
    for sid in (*sids, other):
        rig.until_over(sid)

    path, seen, pages = f"/2010-04-01/Accounts/{rig.account}/Calls.json?To=%2B12025550170&PageSize=2", [], 0
    while path:
        page = get(rig, path).json()
        assert page["page"] == pages
        seen += [call["sid"] for call in page["calls"]]
        path, pages = page["next_page_uri"], pages + 1

    assert seen == sids[::-1]
    assert pages == 3
    busy = get(rig, f"/2010-04-01/Accounts/{rig.account}/Calls.json", Status="busy").json()
    assert [call["sid"] for call in busy["calls"]] == [other]
    assert busy["next_page_uri"] is None
    unknown = get(rig, f"/2010-04-01/Accounts/{rig.account}/Calls.json", Colour="red")
    assert (unknown.status_code, unknown.json()["code"]) == (400, 20001)


def test_pages_stand_still_while_new_calls_come_in(rig: Any) -> None:
    rig.start(speed=50.0)
    sids = [post(rig, To="+12025550170").json()["sid"] for _ in range(4)]
    path = f"/2010-04-01/Accounts/{rig.account}/Calls.json"
    first = get(rig, path, PageSize=2).json()

    post(rig, To="+12025550170")
    second = get(rig, first["next_page_uri"]).json()

    assert [call["sid"] for call in first["calls"] + second["calls"]] == sids[::-1]


def test_an_answer_is_one_write_and_carries_the_date(rig: Any) -> None:
    """Two writes would meet delayed acknowledgement: 40 ms lost on every request."""
    rig.start()
    import base64
    import socket

    credentials = base64.b64encode(f"{rig.account}:{rig.token}".encode()).decode()
    port = int(rig.network.base_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(
            f"GET /2010-04-01/Accounts/{rig.account}/Calls.json HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n\r\n".encode()
        )
        first = connection.recv(65536)

    head, _, body = first.partition(b"\r\n\r\n")
    assert b"\r\nDate: " in head
    assert body.endswith(b"}")
