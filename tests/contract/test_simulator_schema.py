"""Answers of the simulated network against the vendor's own description of them (its OpenAPI document)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from workers.phone_simulator import filters, orders

# Test folders are no packages, so the module beside this one is loaded from its file.
_spec = importlib.util.spec_from_file_location("openapi", Path(__file__).with_name("openapi.py"))
assert _spec is not None
assert _spec.loader is not None
openapi = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(openapi)

# Of a create, what the simulator says it does not simulate.
LEFT_OUT = {"CallerId", "CallToken", "Byoc", "SipAuthUsername", "SipAuthPassword", "ClientNotificationUrl"}


@pytest.fixture(scope="module")
def schema(given_environment: dict[str, str]) -> Any:
    return openapi.Schema(openapi.load(given_environment))


def test_every_answer_has_the_fields_and_types_of_the_schema(rig: Any, schema: Any) -> None:
    rig.start(speed=50.0)
    rig.us.answers["/voice"] = [rig.twiml('<Pause length="20"/>', '<Record action="/left"/>', "<Dial>+12025550120</Dial>")]
    order = {"To": "+12025550110", "From": rig.caller, "Url": rig.us.url("/voice"), "Record": "true"}

    made = rig.ask("POST", "/Calls.json", **order)
    sid = made.json()["sid"]
    rig.until(lambda: rig.call(sid).status == "in-progress")
    started = rig.ask("POST", f"/Calls/{sid}/Recordings.json")
    rig.until_over(sid)
    rig.until_over(rig.order("+12025550120"))
    recording = started.json()["sid"]
    recordings, single = "/Calls/{CallSid}/Recordings.json", "/Calls/{CallSid}/Recordings/{Sid}.json"
    answers = {
        ("/Calls.json", "post", "201"): made,
        (recordings, "post", "201"): started,
        ("/Calls.json", "get", "200"): rig.ask("GET", "/Calls.json", PageSize="1"),
        ("/Calls/{Sid}.json", "get", "200"): rig.ask("GET", f"/Calls/{sid}.json"),
        ("/Recordings.json", "get", "200"): rig.ask("GET", "/Recordings.json"),
        ("/Recordings/{Sid}.json", "get", "200"): rig.ask("GET", f"/Recordings/{recording}.json"),
        (recordings, "get", "200"): rig.ask("GET", f"/Calls/{sid}/Recordings.json"),
        (single, "get", "200"): rig.ask("GET", f"/Calls/{sid}/Recordings/{recording}.json"),
    }

    faults = {
        f"{method} {path}": schema.faults(answer.json(), schema.answer(path, method, status), "answer")
        for (path, method, status), answer in answers.items()
    }

    assert {where: found for where, found in faults.items() if found} == {}
    assert [answer.status_code for answer in answers.values()] == [201, 201, 200, 200, 200, 200, 200, 200]
    assert len(answers["/Recordings.json", "get", "200"].json()["recordings"]) >= 2
    assert answers["/Calls.json", "get", "200"].json()["next_page_uri"] is not None


def test_an_update_and_an_error_have_the_fields_and_types_of_the_schema(rig: Any, schema: Any) -> None:
    rig.start()
    sid = rig.order("+12025550130")
    # The one error body that the document describes; all errors of this interface are alike.
    error = schema.answer("/Calls/{CallSid}/Recordings/{Sid}.json", "post", "408")

    updated = rig.ask("POST", f"/Calls/{sid}.json", Status="canceled")
    missing = rig.ask("GET", f"/Calls/CA{'0' * 32}.json")
    refused = rig.ask("POST", "/Calls.json", To="nobody")

    assert schema.faults(updated.json(), schema.answer("/Calls/{Sid}.json", "post", "200"), "answer") == []
    assert schema.faults(missing.json(), error, "error") == []
    assert schema.faults(refused.json(), error, "error") == []


def test_the_check_itself_sees_what_is_wrong(rig: Any, schema: Any) -> None:
    rig.start()
    call = schema.answer("/Calls/{Sid}.json", "get", "200")
    good = rig.ask("GET", f"/Calls/{rig.order('+12025550130')}.json").json()

    assert schema.faults(good, call) == []
    for wrong in ({"sid": "CA1"}, {"queue_time": 0}, {"status": "initiated"}, {"uri": True}, {"colour": "red"}):
        assert len(schema.faults({**good, **wrong}, call)) == 1
    del good["direction"]
    assert schema.faults(good, call) == [".direction is missing"]


def test_every_field_of_the_vendor_is_simulated_or_refused_by_name(schema: Any) -> None:
    theirs = schema.fields("/Calls.json", "post")

    assert theirs - orders.CREATE_FIELDS - {"ApplicationSid"} == LEFT_OUT
    assert theirs >= orders.CREATE_FIELDS - {"CallReason"}
    assert schema.fields("/Calls/{Sid}.json", "post") == orders.UPDATE_FIELDS
    known = {"To", "From", "ParentCallSid", "Status"} | {f"{n}{sign}" for n in ("StartTime", "EndTime") for sign in ("", "<", ">")}
    assert schema.fields("/Calls.json", "get") == known | filters.PAGE_FIELDS
