from __future__ import annotations

import xml.etree.ElementTree as ET

from core.telephony import twiml

HOSTILE = """<Say>"Tom" & 'Ann'</Say> ünï"""
URL = "http://orch.example/webhooks/twilio/gather?attempt=1&turn=2"


def verbs(document: str) -> list[ET.Element]:
    root = ET.fromstring(document)
    assert root.tag == "Response"
    return list(root)


def test_a_stream_carries_its_parameters_and_is_followed_by_a_redirect() -> None:
    connect, redirect = verbs(twiml.connect_stream("wss://media.example/media", {"token": HOSTILE}, URL))

    (stream,) = connect
    assert stream.attrib == {"url": "wss://media.example/media"}
    assert [parameter.attrib for parameter in stream] == [{"name": "token", "value": HOSTILE}]
    assert (redirect.text, redirect.get("method")) == (URL, "POST")


def test_a_question_listens_for_speech_and_keys_and_reports_silence() -> None:
    gather, redirect = verbs(twiml.say_and_gather(HOSTILE, URL, hints=["yes", "no, thank you"], timeout_seconds=7))

    assert gather.get("input") == "speech dtmf"
    assert gather.get("action") == URL
    assert gather.get("timeout") == "7"
    assert gather.get("actionOnEmptyResult") == "true"
    assert gather.get("hints") == "yes,no  thank you"
    (say,) = gather
    assert say.text == HOSTILE
    assert redirect.text == URL


def test_a_question_without_hints_sends_none() -> None:
    gather, _ = verbs(twiml.say_and_gather("How are you?", URL))

    assert "hints" not in gather.attrib


def test_last_words_end_the_call() -> None:
    say, hangup = verbs(twiml.say_and_hangup(HOSTILE))

    assert say.text == HOSTILE
    assert hangup.tag == "Hangup"


def test_hanging_up_says_nothing() -> None:
    assert [verb.tag for verb in verbs(twiml.hangup())] == ["Hangup"]


def test_waiting_asks_again_afterwards() -> None:
    pause, redirect = verbs(twiml.pause_and_redirect(2, URL))

    assert (pause.tag, pause.get("length")) == ("Pause", "2")
    assert redirect.text == URL


def test_who_rings_us_at_a_bad_moment_hears_a_busy_tone() -> None:
    (reject,) = verbs(twiml.reject_busy())

    assert (reject.tag, reject.get("reason")) == ("Reject", "busy")


def test_a_question_may_be_interrupted() -> None:
    gather, _ = verbs(twiml.say_and_gather("How are you?", URL))

    # The default is true, and what is said stands inside: a word or a key stops it.
    assert gather.get("bargeIn") in (None, "true")
    assert [child.tag for child in gather] == ["Say"]
