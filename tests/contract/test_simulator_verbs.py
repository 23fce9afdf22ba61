"""Play, Dial, Reject, and what Gather can be told; calls that phones make to us."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from workers.phone_simulator.audio import tone
from workers.phone_simulator.wave_files import as_wave

HANG_UP = "<Hangup/>"

BOOK: dict[str, Any] = {
    "behaviours": {
        "interrupts": {"kind": "answers", "ring_seconds": 0.1, "script": [{"say": "wait a moment", "interrupts_after_words": 3}]},
        "key_at_once": {"kind": "answers", "ring_seconds": 0.1, "script": [{"dtmf": "12#4", "interrupts_after": 0.5}]},
        "long_answer": {"kind": "answers", "ring_seconds": 0.1, "script": [{"say": " ".join(["word"] * 30)}]},
        "silent": {"kind": "answers", "ring_seconds": 0.1, "gives_up_seconds": 600},
        "asks": {
            "kind": "answers",
            "ring_seconds": 0.1,
            "script": [{"say": "hello", "prompted": False}, {"dtmf": "*", "prompted": False, "after": 1}],
        },
        "answers": {
            "kind": "answers",
            "ring_seconds": 0.1,
            "script": [{"say": "this is a friend"}, {"hang_up": True, "after": 1, "prompted": False}],
        },
        "busy": {"kind": "busy", "ring_seconds": 0.1},
        "absent": {"kind": "no_answer"},
        "leaves": {"kind": "answers", "ring_seconds": 0.1, "script": [{"hang_up": True, "interrupts_after": 1}]},
    },
    "callees": [
        {"numbers": ["+12025550101"], "behaviour": "interrupts"},
        {"numbers": ["+12025550102"], "behaviour": "key_at_once"},
        {"numbers": ["+12025550103"], "behaviour": "long_answer"},
        {"numbers": ["+12025550104"], "behaviour": "asks"},
        {"numbers": ["+12025550105"], "behaviour": "answers"},
        {"numbers": ["+12025550106"], "behaviour": "busy"},
        {"numbers": ["+12025550107"], "behaviour": "absent"},
        {"numbers": ["+12025550108"], "behaviour": "leaves"},
    ],
    "otherwise": {"behaviour": "silent"},
}


def run(rig: Any, number: str, *verbs: str, **more: Any) -> str:
    """The sid of a call that went through these verbs; what they post to is answered with a hang-up."""
    if rig.network is None:
        rig.start(book=BOOK, **{"speed": 20.0, **more})
    for path in ("/gather", "/dialled", "/partial"):
        rig.us.answers[path] = [rig.twiml(HANG_UP)]
    rig.us.answers["/voice"] = [rig.twiml(*verbs)]
    sid = rig.order(number)
    rig.until_over(sid)
    return str(sid)


# --- Gather ---------------------------------------------------------------------------------------------------------

LONG = "one two three four five six seven eight nine ten"


def test_who_interrupts_a_prompt_is_heard_and_the_prompt_ends(rig: Any) -> None:
    sid = run(rig, "+12025550101", f'<Gather input="speech" action="/gather"><Say>{LONG}</Say><Say>{LONG}</Say></Gather>', speed=1.0)

    assert rig.us.to("/gather")[0].fields["SpeechResult"] == "wait a moment"
    assert rig.verbs(sid) == ["Gather", "Say", "Hangup"]
    said = rig.ledger.events(sid, "said")[0].at
    assert (said - rig.call(sid).answered_at).total_seconds() < 4


def test_who_must_not_interrupt_is_heard_afterwards(rig: Any) -> None:
    sid = run(rig, "+12025550101", f'<Gather input="speech" bargeIn="false" action="/gather"><Say>{LONG}</Say><Say>b</Say></Gather>')

    assert rig.us.to("/gather")[0].fields["SpeechResult"] == "wait a moment"
    assert rig.verbs(sid) == ["Gather", "Say", "Say", "Hangup"]


@pytest.mark.parametrize(
    ("attributes", "digits"),
    [("", "12"), ('finishOnKey="4"', "12#"), ('finishOnKey=""', "12#4"), ('numDigits="1"', "1"), ('numDigits="9" finishOnKey=""', "12#4")],
)
def test_keys_end_a_prompt_and_are_counted_as_asked(rig: Any, attributes: str, digits: str) -> None:
    run(rig, "+12025550102", f'<Gather action="/gather" {attributes}><Say>{LONG}</Say></Gather>')

    assert rig.us.to("/gather")[0].fields["Digits"] == digits


def test_a_long_answer_is_cut_and_told_while_it_goes_on(rig: Any) -> None:
    run(
        rig,
        "+12025550103",
        '<Gather input="speech" action="/gather" maxSpeechTime="4" language="en-GB" speechTimeout="2" '
        'partialResultCallback="/partial"><Say>Well?</Say></Gather>',
    )

    final, partial = rig.us.to("/gather")[0].fields, rig.us.to("/partial")[0].fields
    assert final["SpeechResult"] == " ".join(["word"] * 10)
    assert final["Language"] == "en-GB"
    assert partial["StableSpeechResult"].startswith("word word")
    assert partial["SequenceNumber"] == "0"


def test_a_prompt_is_left_by_who_hangs_up(rig: Any) -> None:
    sid = run(rig, "+12025550108", f"<Say>{LONG}</Say>", "<Say>Never said.</Say>")

    assert rig.verbs(sid) == ["Say", "(the callee hung up)"]


# --- Play -----------------------------------------------------------------------------------------------------------


def sound(seconds: float, kind: str = "audio/wav") -> Any:
    async def answer(_: Any) -> web.StreamResponse:
        return web.Response(body=as_wave([tone(440, seconds)]), content_type=kind)

    return answer


def test_a_file_is_fetched_and_played_as_long_as_it_is(rig: Any) -> None:
    rig.start(book=BOOK)
    rig.us.answers["/hold.wav"] = [sound(0.5)]

    sid = run(rig, "+12025550199", f'<Play loop="2">{rig.us.url("/hold.wav")}</Play>')

    call = rig.call(sid)
    assert 0.95 < (call.ended_at - call.answered_at).total_seconds() < 3
    (hit,) = rig.us.to("/hold.wav")
    assert (hit.method, hit.authentic) == ("GET", True)
    assert rig.ledger.warnings(sid) == []


def test_keys_are_played(rig: Any) -> None:
    rig.start(book=BOOK)

    sid = run(rig, "+12025550199", '<Play digits="1w2"/>')

    call = rig.call(sid)
    assert 0.85 < (call.ended_at - call.answered_at).total_seconds() < 3
    assert rig.ledger.events(sid, "verb")[0].detail == {"verb": "Play", "digits": "1w2"}


@pytest.mark.parametrize(
    ("answer", "code"),
    [((404, "text/plain", "no"), 11200), ((200, "text/html", "<p>hold</p>"), 12300), ((200, "audio/wav", "RIFF?"), 12300)],
)
def test_a_file_that_cannot_be_played_is_warned_of_and_the_call_goes_on(rig: Any, answer: Any, code: int) -> None:
    rig.start(book=BOOK, speed=20.0)
    rig.us.answers["/hold.wav"] = [answer]

    sid = run(rig, "+12025550199", f"<Play>{rig.us.url('/hold.wav')}</Play>", "<Say>Sorry.</Say>")

    assert rig.verbs(sid) == ["Play", "Say"]
    assert code in rig.codes(sid)


# --- Dial -----------------------------------------------------------------------------------------------------------


def test_two_phones_are_brought_together_and_hear_one_another(rig: Any) -> None:
    dial = (
        '<Dial action="/dialled" record="record-from-answer-dual"><Number statusCallback="{}" statusCallbackEvent="{}">{}</Number></Dial>'
    )
    rig.start(book=BOOK)
    events = "initiated ringing answered completed"

    sid = run(rig, "+12025550104", dial.format(rig.us.url("/leg"), events, "+12025550105"))

    (leg,) = rig.ledger.legs(sid)
    (told,) = rig.us.to("/dialled")
    assert (told.fields["DialCallStatus"], told.fields["DialCallSid"], told.fields["DialBridged"]) == ("completed", leg.sid, "true")
    assert told.fields["DialCallDuration"] == str(leg.seconds)
    assert (leg.to, leg.from_, leg.direction, leg.status) == ("+12025550105", rig.caller, "outbound-dial", "completed")
    assert [event.detail["text"] for event in rig.ledger.events(sid, "said")] == ["hello"]
    assert [event.detail["text"] for event in rig.ledger.events(leg.sid, "said")] == ["this is a friend"]
    assert [hit.fields["CallStatus"] for hit in rig.us.to("/leg")] == ["initiated", "ringing", "in-progress", "completed"][1:]
    assert rig.us.to("/leg")[-1].fields["ParentCallSid"] == sid
    (recording,) = rig.ledger.recordings(sid)
    assert (recording.source, recording.status, told.fields["RecordingSid"]) == ("DialVerb", "completed", recording.sid)
    assert rig.sdk().calls.list(parent_call_sid=sid)[0].sid == leg.sid


@pytest.mark.parametrize(("number", "status"), [("+12025550106", "busy"), ("+12025550107", "no-answer"), ("12", "failed")])
def test_a_phone_that_does_not_answer_says_why(rig: Any, number: str, status: str) -> None:
    sid = run(rig, "+12025550199", f'<Dial timeout="5" action="/dialled">{number}</Dial>')

    assert rig.us.to("/dialled")[0].fields["DialCallStatus"] == status
    assert rig.codes(sid) == ([13223] if number == "12" else [])


def test_without_an_action_the_next_verb_runs(rig: Any) -> None:
    assert rig.verbs(run(rig, "+12025550199", "<Dial>+12025550106</Dial>", "<Say>Nobody.</Say>")) == ["Dial", "Say"]


def test_the_first_to_answer_is_talked_to_and_the_others_stop_ringing(rig: Any) -> None:
    rig.start(book=BOOK)
    numbers = "".join(f"<Number>{number}</Number>" for number in ("+12025550107", "+12025550105"))

    sid = run(rig, "+12025550104", f"<Dial>{numbers}</Dial>")

    assert {leg.to: leg.status for leg in rig.ledger.legs(sid)} == {"+12025550107": "canceled", "+12025550105": "completed"}


def test_numbers_can_be_rung_one_after_the_other(rig: Any) -> None:
    numbers = "".join(f"<Number>{number}</Number>" for number in ("+12025550106", "+12025550107"))

    sid = run(rig, "+12025550199", f'<Dial sequential="true" timeout="5" action="/dialled">{numbers}</Dial>')

    first, second = rig.ledger.legs(sid)
    assert (first.status, second.status) == ("busy", "no-answer")
    assert first.ended_at <= second.created_at
    assert rig.us.to("/dialled")[0].fields["DialCallStatus"] == "no-answer"


def test_a_star_or_the_limit_ends_the_talk_but_not_the_call(rig: Any) -> None:
    rig.start(book=BOOK)
    for attributes in ('hangupOnStar="true"', 'timeLimit="1"'):
        sid = run(rig, "+12025550104", f"<Dial {attributes}>+12025550199</Dial>", "<Say>Back again.</Say>")
        assert "Say" in rig.verbs(sid)
        assert rig.ledger.legs(sid)[0].status == "completed"


def test_ending_the_call_ends_what_it_dialled(rig: Any) -> None:
    rig.start(book=BOOK)
    rig.us.answers["/voice"] = [rig.twiml("<Dial>+12025550198</Dial>")]
    sid = rig.order("+12025550199")
    rig.until(lambda: [leg for leg in rig.ledger.legs(sid) if leg.status == "in-progress"])

    rig.carrier().hang_up(sid)

    assert rig.until_over(sid).status == "completed"
    assert rig.ledger.legs(sid)[0].status == "completed"
    assert rig.ledger.overlaps() == []


def test_a_caller_id_that_is_not_ours_is_refused(rig: Any) -> None:
    sid = run(rig, "+12025550199", '<Dial callerId="+12125550100" action="/dialled">+12025550105</Dial>')

    assert rig.codes(sid) == [13214]
    assert rig.us.to("/dialled")[0].fields["DialCallStatus"] == "failed"


# --- calls that come in ---------------------------------------------------------------------------------------------


def ring_us(rig: Any, **fields: str) -> str:
    answer = rig.ask("POST", "/simulator/calls", **{"from": "+12025550104", **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["sid"])


def test_a_phone_rings_us_and_is_answered(rig: Any) -> None:
    rig.start(book=BOOK, speed=20.0)
    rig.take_calls()
    rig.us.answers |= {
        "/incoming": [rig.twiml('<Gather input="speech dtmf" action="/gather"><Say>Who is there?</Say></Gather>')],
        "/gather": [rig.twiml("<Say>Goodbye.</Say>", HANG_UP)],
    }

    call = rig.until_over(ring_us(rig))

    (asked,) = rig.us.to("/incoming")
    assert asked.authentic
    assert (asked.fields["Direction"], asked.fields["CallStatus"]) == ("inbound", "ringing")
    assert (asked.fields["From"], asked.fields["To"]) == ("+12025550104", rig.caller)
    assert rig.us.to("/gather")[0].fields["CallStatus"] == "in-progress"
    assert (call.direction, call.status, call.behaviour) == ("inbound", "completed", "asks")
    assert rig.us.statuses == ["completed"]
    assert rig.ledger.rung() == {}


@pytest.mark.parametrize(("attributes", "status"), [("", "no-answer"), ('reason="busy"', "busy"), ('reason="rejected"', "no-answer")])
def test_a_call_can_be_rejected_without_answering_it(rig: Any, attributes: str, status: str) -> None:
    rig.start(book=BOOK, speed=20.0)
    rig.take_calls()
    rig.us.answers["/incoming"] = [rig.twiml(f"<Reject {attributes}/>", "<Say>Never said.</Say>")]

    call = rig.until_over(ring_us(rig))

    assert (call.status, call.answered_at) == (status, None)
    assert rig.us.statuses == [status]


def test_a_call_is_answered_before_it_can_be_rejected_later_on(rig: Any) -> None:
    rig.start(book=BOOK, speed=20.0)
    rig.take_calls()
    rig.us.answers["/incoming"] = [rig.twiml("<Say>No.</Say>", "<Reject/>")]

    assert rig.until_over(ring_us(rig)).status == "completed"


def test_when_we_cannot_say_what_to_do_the_caller_hears_an_error(rig: Any) -> None:
    rig.start(book=BOOK, speed=20.0)
    rig.take_calls()
    rig.us.answers["/incoming"] = [(500, "text/plain", "oops")]

    sid = ring_us(rig)

    assert rig.until_over(sid).status == "completed"
    assert rig.codes(sid) == [11200]


def test_whoever_rings_us_does_what_was_asked_of_him(rig: Any) -> None:
    rig.start(book=BOOK, speed=20.0)
    rig.take_calls()
    rig.us.answers |= {"/incoming": [rig.twiml('<Gather action="/gather"><Say>Yes?</Say></Gather>')], "/gather": [rig.twiml(HANG_UP)]}

    rig.until_over(ring_us(rig, behaviour="key_at_once"))

    assert rig.us.to("/gather")[0].fields["Digits"] == "12"


@pytest.mark.parametrize(
    "fields",
    [{"from": "555"}, {"to": "+12125550100"}, {"behaviour": "nobody"}, {"behaviour": "busy"}, {"colour": "red"}],
)
def test_a_call_that_nobody_could_make_is_refused(rig: Any, fields: dict[str, str]) -> None:
    rig.start(book=BOOK)
    rig.take_calls()

    answer = rig.ask("POST", "/simulator/calls", **{"from": "+12025550104", **fields})

    assert answer.status_code == 400
    assert rig.ledger.calls() == []


# --- machine detection, keys, signatures ----------------------------------------------------------------------------


def machine(greeting_words: int, **more: Any) -> dict[str, Any]:
    voicemail = {"kind": "voicemail", "ring_seconds": 0.1, "greeting": " ".join(["word"] * greeting_words), **more}
    return {"behaviours": {"machine": voicemail}, "otherwise": {"behaviour": "machine"}}


@pytest.mark.parametrize(
    ("behaviour", "fields", "verdict"),
    [
        ({}, {}, "machine_start"),
        ({}, {"MachineDetection": "DetectMessageEnd"}, "machine_end_beep"),
        ({"beep_seconds": 0}, {"MachineDetection": "DetectMessageEnd"}, "machine_end_silence"),
        ({}, {"MachineDetection": "DetectMessageEnd", "MachineDetectionTimeout": "3"}, "unknown"),
        ({"detection_seconds": 40}, {}, "unknown"),
        ({}, {"MachineDetectionSpeechThreshold": "6000"}, "human"),
        ({"answered_by": "fax"}, {"MachineDetection": "DetectMessageEnd"}, "fax"),
    ],
)
def test_machine_detection_finds_what_it_was_told_to_look_for(
    rig: Any, behaviour: dict[str, Any], fields: dict[str, str], verdict: str
) -> None:
    rig.start(book=machine(10, **behaviour), speed=100.0)
    rig.us.answers["/voice"] = [rig.twiml(HANG_UP)]

    sid = rig.order("+12025550199", **{"MachineDetection": "Enable", **fields})
    rig.until_over(sid)

    (voice,) = rig.us.to("/voice")
    assert voice.fields["AnsweredBy"] == rig.call(sid).answered_by == verdict
    assert int(voice.fields["MachineDetectionDuration"]) > 0
    assert rig.sdk().calls(sid).fetch().answered_by == verdict


def test_keys_sent_after_connecting_take_their_time_and_switch_detection_off(rig: Any) -> None:
    rig.start(book=BOOK)
    rig.us.answers["/voice"] = [rig.twiml(HANG_UP)]

    sid = rig.order("+12025550199", SendDigits="1wW2", MachineDetection="Enable")
    rig.until_over(sid)

    (voice,) = rig.us.to("/voice")
    assert "AnsweredBy" not in voice.fields
    call = rig.call(sid)
    assert (call.ended_at - call.answered_at).total_seconds() > 1.8


def test_the_sdk_finds_every_signature_right_on_posts_and_on_gets(rig: Any) -> None:
    from twilio.request_validator import RequestValidator

    rig.start(book=BOOK, speed=20.0)
    rig.us.answers["/voice"] = [rig.twiml(HANG_UP)]
    seen: list[bool] = []

    async def check(hit: Any) -> web.StreamResponse:
        parameters = dict(hit.pairs) if hit.method == "POST" else {}
        url = rig.us.url(hit.path_and_query)
        seen.append(RequestValidator(rig.token).validate(url, parameters, hit.signature))
        assert not RequestValidator("another token").validate(url, parameters, hit.signature)
        return web.Response(body=rig.twiml(HANG_UP), content_type="text/xml")

    rig.us.answers |= {"/voice": [check], "/status": [check]}
    rig.until_over(rig.order("+12025550199", Url=rig.us.url("/voice?a=1&b=%20x"), Method="GET", StatusCallback=rig.us.url("/status")))
    rig.until_over(
        rig.order("+12025550199", StatusCallback=rig.us.url("/status?a=%2B"), StatusCallbackMethod="GET", StatusCallbackEvent=["ringing"])
    )
    rig.until(lambda: len(seen) == 4)

    assert seen == [True] * 4
    assert sorted((hit.path, hit.method) for hit in rig.us.hits) == [
        *[("/status", "GET"), ("/status", "POST")],
        *[("/voice", "GET"), ("/voice", "POST")],
    ]
    assert rig.us.to("/voice")[0].query["CallStatus"] == "in-progress"
