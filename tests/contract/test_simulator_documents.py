"""TwiML as the network runs it: turn by turn, without a media stream, and when our side errs."""

from __future__ import annotations

from typing import Any

import pytest

HANG_UP = "<Hangup/>"
ASK = '<Gather input="speech dtmf" action="/gather?attempt=a-1" timeout="3" actionOnEmptyResult="true"><Say>How are you?</Say></Gather>'


def codes(rig: Any, sid: str) -> list[int]:
    return [event.detail["code"] for event in rig.ledger.warnings(sid)]


def verbs(rig: Any, sid: str) -> list[str]:
    return [event.detail["verb"] for event in rig.ledger.events(sid, "verb")]


def test_answers_are_posted_turn_by_turn(rig: Any) -> None:
    rig.start(speed=20.0)
    rig.us.answers |= {"/voice": [rig.twiml(ASK)], "/gather": [rig.twiml(ASK), rig.twiml("<Say>Goodbye.</Say>", HANG_UP)]}

    sid = rig.dial()
    call = rig.until_over(sid)

    turns = rig.us.to("/gather")
    assert [hit.fields["SpeechResult"] for hit in turns] == ["i am well", "yes please"]
    assert all(0 < float(hit.fields["Confidence"]) <= 1 for hit in turns)
    assert all(hit.authentic and hit.query == {"attempt": "a-1"} and hit.fields["CallSid"] == sid for hit in turns)
    assert call.status == "completed"
    assert verbs(rig, sid) == ["Gather", "Say", "Gather", "Say", "Say", "Hangup"]
    assert rig.ledger.warnings() == []


def test_silence_is_posted_only_when_asked_for(rig: Any) -> None:
    rig.start(speed=60.0)
    quiet = ASK.replace(' actionOnEmptyResult="true"', "")
    rig.us.answers |= {
        "/voice": [rig.twiml(quiet, '<Redirect method="POST">/next?attempt=a-1</Redirect>')],
        "/next": [rig.twiml(ASK)],
        "/gather": [rig.twiml(HANG_UP)],
    }

    rig.until_over(rig.dial("+12025550199"))

    assert len(rig.us.to("/next")) == 1
    (hit,) = rig.us.to("/gather")
    assert hit.fields["SpeechResult"] == ""


def test_keys_are_posted_as_digits(rig: Any) -> None:
    rig.start(speed=20.0)
    rig.us.answers |= {"/voice": [rig.twiml(ASK)], "/gather": [rig.twiml(HANG_UP)]}

    rig.until_over(rig.dial("+12025550160"))

    (hit,) = rig.us.to("/gather")
    assert hit.fields["Digits"] == "1*"
    assert "SpeechResult" not in hit.fields


def test_no_more_keys_than_asked_for(rig: Any) -> None:
    rig.start(speed=20.0)
    rig.us.answers |= {"/voice": [rig.twiml(ASK.replace("timeout", 'numDigits="1" timeout'))], "/gather": [rig.twiml(HANG_UP)]}

    rig.until_over(rig.dial("+12025550160"))

    assert rig.us.to("/gather")[0].fields["Digits"] == "1"


def test_a_callee_who_hangs_up_ends_the_call(rig: Any) -> None:
    rig.start(speed=20.0)
    rig.us.answers |= {"/voice": [rig.twiml(ASK)], "/gather": [rig.twiml(ASK)]}

    call = rig.until_over(rig.dial("+12025550140"))

    assert call.status == "completed"
    assert [hit.fields["SpeechResult"] for hit in rig.us.to("/gather")] == ["hello"]


def test_an_answering_machine_is_heard_once_and_then_silent(rig: Any) -> None:
    rig.start(speed=20.0)
    rig.us.answers |= {"/voice": [rig.twiml(ASK)], "/gather": [rig.twiml(ASK), rig.twiml(HANG_UP)]}

    rig.until_over(rig.dial("+12025550150"))

    assert [hit.fields["SpeechResult"] for hit in rig.us.to("/gather")] == ["leave a message", ""]


def test_speaking_takes_its_time(rig: Any) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml("<Say>one two three four five</Say>")]

    call = rig.until_over(rig.dial("+12025550199"))

    assert 1.95 < (call.ended_at - call.answered_at).total_seconds() < 4


def test_the_end_of_a_document_hangs_up(rig: Any) -> None:
    rig.start()
    rig.us.answers["/voice"] = [rig.twiml()]

    assert rig.until_over(rig.dial()).status == "completed"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("<Response><Say>unfinished", 12100),
        ("<Answer/>", 12100),
        ("<Response><say>Hello</say></Response>", 12100),
        ("<Response><Say>Hello</Say><Dance/></Response>", 12100),
        ('<!DOCTYPE Response [<!ENTITY a "b">]><Response><Say>&a;</Say></Response>', 12100),
        ((200, "text/html", "<Response/>"), 12300),
        ((500, "text/xml", "<Response/>"), 11200),
        ((302, "text/xml", ""), 11200),
    ],
)
def test_an_answer_that_cannot_be_run_ends_the_call(rig: Any, answer: Any, code: int) -> None:
    rig.start()
    rig.us.answers["/voice"] = [answer]

    sid = rig.dial()

    assert rig.until_over(sid).status == "completed"
    assert codes(rig, sid) == [code]
    assert len(rig.us.to("/voice")) == 1


@pytest.mark.parametrize(
    "verb",
    [
        "<Say colour='red'>Hello</Say>",
        "<Pause length='long'/>",
        "<Connect/>",
    ],
)
def test_what_twilio_would_complain_about_is_recorded(rig: Any, verb: str) -> None:
    rig.start(speed=20.0)
    rig.us.answers["/voice"] = [rig.twiml(verb, HANG_UP)]

    sid = rig.dial()
    rig.until_over(sid)

    assert codes(rig, sid) == [12200]
    assert verbs(rig, sid)[-1] == "Hangup"


def test_the_fallback_is_asked_and_told_why(rig: Any) -> None:
    import httpx

    rig.start()
    rig.us.answers |= {"/voice": [(503, "text/plain", "later")], "/fallback": [rig.twiml(HANG_UP)]}
    order = {"To": "+12025550110", "From": rig.caller, "Url": rig.us.url("/voice"), "FallbackUrl": rig.us.url("/fallback")}
    url = f"{rig.network.base_url}/2010-04-01/Accounts/{rig.account}/Calls.json"

    sid = httpx.post(url, data=order, auth=(rig.account, rig.token)).json()["sid"]
    rig.until_over(sid)

    (hit,) = rig.us.to("/fallback")
    assert (hit.fields["ErrorCode"], hit.fields["ErrorUrl"]) == ("11200", rig.us.url("/voice"))
    assert verbs(rig, sid) == ["Hangup"]


def test_a_refused_connection_is_tried_once_more(rig: Any) -> None:
    rig.start()

    sid = rig.dial(voice_url="http://127.0.0.1:1/voice")
    rig.until_over(sid)

    (voice,) = [event.detail for event in rig.ledger.events(sid, "webhook") if event.detail["purpose"] == "voice"]
    assert (voice["tries"], voice["error"]) == (2, 11205)


def test_a_failed_answer_is_not_tried_again(rig: Any) -> None:
    rig.start()

    rig.us.answers |= {"/voice": [rig.twiml(HANG_UP)], "/status": [(500, "text/plain", "")]}
    sid = rig.dial()
    rig.until_over(sid)

    assert rig.us.statuses == ["initiated", "ringing", "in-progress", "completed"]
    assert codes(rig, sid) == [11200] * 4
