"""Reads a TwiML document. Source: docs/voice/twiml; error pages 12100 (cannot be run) and 12200 (schema warning).

Stricter than Twilio in one point: an unknown verb makes the document one that cannot be run, where Twilio may warn and skip it.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

from workers.phone_simulator.orders import RECORDING_EVENTS, STATUS_EVENTS
from workers.phone_simulator.verbs import (
    Dial,
    Gather,
    Hangup,
    Pause,
    Play,
    Prompt,
    Record,
    RecordingWish,
    Redirect,
    Reject,
    Say,
    Stream,
    Target,
    Verb,
)

Warn = Callable[[int, str], None]

_RECORDING = {"recordingStatusCallback", "recordingStatusCallbackMethod", "recordingStatusCallbackEvent", "trim"}
_ATTRIBUTES: dict[str, set[str]] = {
    "Response": set(),
    "Say": {"voice", "language", "loop"},
    "Play": {"loop", "digits"},
    "Pause": {"length"},
    "Redirect": {"method"},
    "Hangup": set(),
    "Reject": {"reason"},
    "Connect": {"action", "method"},
    "Stream": {"url", "name", "track", "statusCallback", "statusCallbackMethod"},
    "Parameter": {"name", "value"},
    "Gather": {
        *("input", "action", "method", "timeout", "numDigits", "finishOnKey", "speechTimeout", "maxSpeechTime", "language", "hints"),
        *("actionOnEmptyResult", "bargeIn", "profanityFilter", "partialResultCallback", "partialResultCallbackMethod"),
        *("speechModel", "enhanced"),
    },
    "Record": _RECORDING
    | {"action", "method", "timeout", "finishOnKey", "maxLength", "playBeep", "transcribe", "transcribeCallback", "recordingTrack"},
    "Dial": _RECORDING
    | {
        *("action", "method", "timeout", "timeLimit", "callerId", "answerOnBridge", "hangupOnStar", "ringTone", "record", "sequential"),
        *("recordingTrack", "referUrl", "referMethod"),
    },
    "Number": {"url", "method", "sendDigits", "statusCallback", "statusCallbackMethod", "statusCallbackEvent"},
}
_VERBS = {"Say", "Play", "Pause", "Redirect", "Hangup", "Reject", "Connect", "Gather", "Record", "Dial"}
# Of Twilio, but nothing here simulates them.
_NOT_SIMULATED = {"Start", "Stop", "Enqueue", "Leave", "Pay", "Prompt", "Refer", "Echo", "Sms"}
_RECORD_CALL = {
    *("true", "record-from-answer", "record-from-ringing", "record-from-answer-dual", "record-from-ringing-dual"),
    *("false", "do-not-record"),
}


class BadTwimlError(Exception):
    """The document cannot be run at all: error 12100."""


def read_document(body: bytes, warn: Warn) -> list[Verb]:
    """The verbs in order. `warn(code, text)` hears of what Twilio would complain about and do without. Raises BadTwimlError."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise BadTwimlError("a document type is not allowed")
    try:
        # Without a document type there is nothing in XML that grows while it is parsed.
        root = ET.fromstring(body)  # noqa: S314
    except (ET.ParseError, ValueError) as error:
        raise BadTwimlError(f"the document does not parse: {error}") from None
    if root.tag != "Response":
        raise BadTwimlError(f"the root is <{root.tag}>, not <Response>")
    return _Reader(warn).verbs(root)


class _Reader:
    def __init__(self, warn: Warn) -> None:
        self._warn = warn

    def verbs(self, root: ET.Element) -> list[Verb]:
        self._check_attributes(root)
        for element in root:
            if element.tag not in _VERBS:
                why = "is not simulated" if element.tag in _NOT_SIMULATED else "is not a verb"
                raise BadTwimlError(f"<{element.tag}> {why}")
        read = [self._verb(element) for element in root]
        return [verb for verb in read if verb is not None]

    def _verb(self, element: ET.Element) -> Verb | None:
        self._check_attributes(element)
        match element.tag:
            case "Say" | "Play" | "Pause":
                return self._prompt(element)
            case "Redirect":
                return Redirect((element.text or "").strip(), self._method(element))
            case "Hangup":
                return Hangup()
            case "Reject":
                return Reject(self._one_of(element, "reason", "rejected", {"rejected", "busy"}))
            case "Connect":
                return self._stream(element)
            case "Record":
                return self._record(element)
            case "Dial":
                return self._dial(element)
            case _:
                return self._gather(element)

    def _prompt(self, element: ET.Element) -> Prompt | None:
        match element.tag:
            case "Say":
                return Say(" ".join("".join(element.itertext()).split()), max(1, int(self._number(element, "loop", 1))))
            case "Pause":
                return Pause(self._number(element, "length", 1))
        url, digits = (element.text or "").strip(), element.get("digits", "")
        if bool(url) == bool(digits) or not re.fullmatch(r"[0-9A-D*#wW]*", digits):
            self._warn(12200, "<Play> needs either a URL or digits (0-9 A-D * # w); it is skipped")
            return None
        return Play(url, digits, int(self._number(element, "loop", 1)))

    def _gather(self, element: ET.Element) -> Gather:
        prompts: list[Prompt] = []
        for child in element:
            if child.tag not in {"Say", "Play", "Pause"}:
                self._skipped(child, element)
                continue
            self._check_attributes(child)
            prompt = self._prompt(child)
            if prompt is not None:
                prompts.append(prompt)
        inputs = frozenset(element.get("input", "dtmf").split())
        if not inputs or not inputs <= {"dtmf", "speech"}:
            self._warn(12200, f"<Gather input={element.get('input')!r}> is not dtmf, speech or both")
            inputs = frozenset({"dtmf"})
        return Gather(
            prompts=tuple(prompts),
            inputs=inputs,
            action=element.get("action", ""),
            method=self._method(element),
            timeout=self._number(element, "timeout", 5),
            digits=int(self._number(element, "numDigits", 0)) or None,
            finish_on_key=element.get("finishOnKey", "#"),
            empty_too=self._truth(element, "actionOnEmptyResult", default=False),
            speech_timeout=None if element.get("speechTimeout", "auto") == "auto" else self._number(element, "speechTimeout", 0),
            longest_speech=self._number(element, "maxSpeechTime", 60),
            barge_in=self._truth(element, "bargeIn", default=True),
            language=element.get("language", "en-US"),
            partial_url=element.get("partialResultCallback", ""),
            partial_method=self._method(element, "partialResultCallbackMethod"),
        )

    def _stream(self, connect: ET.Element) -> Stream | None:
        for child in connect:
            if child.tag != "Stream":
                self._skipped(child, connect)
        streams = connect.findall("Stream")
        if len(streams) != 1:
            self._warn(12200, f"<Connect> needs one <Stream>; it has {len(streams)}")
            return None
        stream = streams[0]
        self._check_attributes(stream)
        parameters: dict[str, str] = {}
        for child in stream:
            if child.tag != "Parameter":
                self._skipped(child, stream)
                continue
            self._check_attributes(child)
            name, value = child.get("name", ""), child.get("value", "")
            if not name or len(name) + len(value) > 500:
                self._warn(12200, "a <Parameter> needs a name, and name and value together at most 500 characters; it is skipped")
                continue
            parameters[name] = value
        if stream.get("track", "inbound_track") != "inbound_track":
            self._warn(12200, "<Connect><Stream> only knows track=inbound_track")
        return Stream(
            url=stream.get("url", ""),
            name=stream.get("name", ""),
            parameters=parameters,
            status_callback=stream.get("statusCallback", ""),
            status_callback_method=self._method(stream, "statusCallbackMethod"),
        )

    def _record(self, element: ET.Element) -> Record:
        return Record(
            action=element.get("action", ""),
            method=self._method(element),
            timeout=self._number(element, "timeout", 5),
            longest=self._number(element, "maxLength", 3600) or 3600,
            finish_on_key=element.get("finishOnKey", "1234567890*#"),
            beep=self._truth(element, "playBeep", default=True),
            wish=self._wish(element, "trim-silence"),
        )

    def _dial(self, element: ET.Element) -> Dial | None:
        targets = []
        for child in element:
            if child.tag != "Number":
                self._skipped(child, element)
                continue
            self._check_attributes(child)
            if child.get("url"):
                self._warn(12200, "<Number url> is not simulated: nothing is whispered to who picks up")
            targets.append(
                Target(
                    (child.text or "").strip(),
                    child.get("statusCallback", ""),
                    self._method(child, "statusCallbackMethod"),
                    self._events(child, "statusCallbackEvent", STATUS_EVENTS),
                    child.get("sendDigits", ""),
                )
            )
        if (element.text or "").strip():
            targets.insert(0, Target((element.text or "").strip()))
        if not targets:
            self._warn(12200, "<Dial> names nobody to ring; it is skipped")
            return None
        record = self._one_of(element, "record", "do-not-record", _RECORD_CALL)
        return Dial(
            targets=tuple(targets),
            action=element.get("action", ""),
            method=self._method(element),
            timeout=self._number(element, "timeout", 30),
            time_limit=self._number(element, "timeLimit", 14400),
            caller_id=element.get("callerId", ""),
            hang_up_on_star=self._truth(element, "hangupOnStar", default=False),
            sequential=self._truth(element, "sequential", default=False),
            record="" if record in {"false", "do-not-record"} else record,
            wish=self._wish(element, "do-not-trim"),
        )

    def _wish(self, element: ET.Element, trim: str) -> RecordingWish:
        return RecordingWish(
            element.get("recordingStatusCallback", ""),
            self._method(element, "recordingStatusCallbackMethod"),
            self._events(element, "recordingStatusCallbackEvent", RECORDING_EVENTS),
            self._one_of(element, "trim", trim, {"trim-silence", "do-not-trim"}),
        )

    def _skipped(self, child: ET.Element, parent: ET.Element) -> None:
        self._warn(12200, f"<{child.tag}> in <{parent.tag}> is not allowed, or not simulated; it is skipped")

    def _check_attributes(self, element: ET.Element) -> None:
        unknown = set(element.keys()) - _ATTRIBUTES[element.tag]
        if unknown:
            self._warn(12200, f"<{element.tag}> does not have {', '.join(sorted(unknown))}")

    def _number(self, element: ET.Element, name: str, default: float) -> float:
        text = element.get(name)
        # Twilio also takes "auto" where it can find the value itself.
        if text is None or text == "auto":
            return default
        if not (text.isascii() and text.isdigit()):
            self._warn(12200, f"<{element.tag} {name}={text!r}> is not a whole number")
            return default
        return float(text)

    def _truth(self, element: ET.Element, name: str, *, default: bool) -> bool:
        return self._one_of(element, name, str(default).lower(), {"true", "false"}) == "true"

    def _one_of(self, element: ET.Element, name: str, default: str, allowed: set[str]) -> str:
        value = element.get(name, default)
        if value.lower() not in allowed:
            self._warn(12200, f"<{element.tag} {name}={value!r}> is not {', '.join(sorted(allowed))}")
            return default
        return value.lower()

    def _events(self, element: ET.Element, name: str, allowed: frozenset[str]) -> tuple[str, ...]:
        events = tuple(element.get(name, "completed").split())
        wrong = [event for event in events if event not in allowed]
        if wrong:
            self._warn(12200, f"<{element.tag} {name}> does not know {', '.join(wrong)}")
        return tuple(event for event in events if event in allowed)

    def _method(self, element: ET.Element, name: str = "method") -> str:
        method = element.get(name, "POST").upper()
        if method not in {"GET", "POST"}:
            self._warn(12200, f"<{element.tag} {name}={method!r}> is not GET or POST")
            return "POST"
        return method
