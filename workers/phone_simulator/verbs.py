"""TwiML as the network understands it. Source: docs/voice/twiml; error pages 12100 (does not parse) and 12200 (schema warning)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Warn = Callable[[int, str], None]


class BadTwimlError(Exception):
    """The document cannot be run at all: error 12100."""


@dataclass(frozen=True, slots=True)
class Say:
    text: str
    loop: int = 1


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float = 1


@dataclass(frozen=True, slots=True)
class Gather:
    prompts: tuple[Say | Pause, ...]
    inputs: frozenset[str]
    action: str
    method: str
    timeout: float
    digits: int | None
    finish_on_key: str
    empty_too: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """`<Connect><Stream>`: both ways, and it holds the document."""

    url: str
    name: str
    parameters: Mapping[str, str]
    status_callback: str
    status_callback_method: str


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str
    method: str


@dataclass(frozen=True, slots=True)
class Hangup:
    pass


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str


Verb = Say | Pause | Gather | Stream | Redirect | Hangup | Reject

_SPOKEN = {"voice", "language", "loop"}
_ATTRIBUTES: dict[str, set[str]] = {
    "Response": set(),
    "Say": _SPOKEN,
    "Pause": {"length"},
    "Redirect": {"method"},
    "Hangup": set(),
    "Reject": {"reason"},
    "Connect": {"action", "method"},
    "Stream": {"url", "name", "track", "statusCallback", "statusCallbackMethod"},
    "Parameter": {"name", "value"},
    "Gather": {
        *("input", "action", "method", "timeout", "numDigits", "finishOnKey", "speechTimeout", "maxSpeechTime", "language", "hints"),
        *(
            "actionOnEmptyResult",
            "bargeIn",
            "profanityFilter",
            "partialResultCallback",
            "partialResultCallbackMethod",
            "speechModel",
            "enhanced",
        ),
    },
}


def read_document(body: bytes, warn: Warn) -> list[Verb]:
    """The verbs in order. `warn(code, text)` hears of what Twilio would complain about and skip. Raises BadTwimlError."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise BadTwimlError("a document type is not allowed")
    try:
        # Without a document type there is nothing in XML that grows while it is parsed.
        root = ET.fromstring(body)  # noqa: S314
    except (ET.ParseError, ValueError) as error:
        raise BadTwimlError(f"the document does not parse: {error}") from None
    if root.tag != "Response":
        raise BadTwimlError(f"the root is <{root.tag}>, not <Response>")
    _check_attributes(root, warn)
    verbs = [_verb(element, warn) for element in root]
    return [verb for verb in verbs if verb is not None]


def _verb(element: ET.Element, warn: Warn) -> Verb | None:
    if element.tag not in _ATTRIBUTES or element.tag in {"Response", "Stream", "Parameter"}:
        warn(12200, f"<{element.tag}> is not a verb the phone simulator knows; it is skipped")
        return None
    _check_attributes(element, warn)
    match element.tag:
        case "Say":
            return Say(" ".join("".join(element.itertext()).split()), max(1, int(_number(element, "loop", 1, warn))))
        case "Pause":
            return Pause(_number(element, "length", 1, warn))
        case "Redirect":
            return Redirect((element.text or "").strip(), _method(element, "method", warn))
        case "Hangup":
            return Hangup()
        case "Reject":
            return Reject(element.get("reason", "rejected"))
        case "Connect":
            return _stream(element, warn)
        case _:
            return _gather(element, warn)


def _gather(element: ET.Element, warn: Warn) -> Gather:
    prompts: list[Say | Pause] = []
    for child in element:
        verb = _verb(child, warn)
        if isinstance(verb, Say | Pause):
            prompts.append(verb)
        elif verb is not None:
            warn(12200, f"<{child.tag}> is not allowed in <Gather>; it is skipped")
    inputs = frozenset(element.get("input", "dtmf").split())
    if not inputs or not inputs <= {"dtmf", "speech"}:
        warn(12200, f"<Gather input={element.get('input')!r}> is not dtmf, speech or both")
        inputs = frozenset({"dtmf"})
    digits = int(_number(element, "numDigits", 0, warn)) or None
    return Gather(
        prompts=tuple(prompts),
        inputs=inputs,
        action=element.get("action", ""),
        method=_method(element, "method", warn),
        timeout=_number(element, "timeout", 5, warn),
        digits=digits,
        finish_on_key=element.get("finishOnKey", "#"),
        empty_too=element.get("actionOnEmptyResult", "false").lower() == "true",
    )


def _stream(connect: ET.Element, warn: Warn) -> Stream | None:
    streams = [child for child in connect if child.tag == "Stream"]
    for child in connect:
        if child.tag != "Stream":
            warn(12200, f"<{child.tag}> in <Connect> is not simulated; it is skipped")
    if len(streams) != 1:
        warn(12200, f"<Connect> needs one <Stream>; it has {len(streams)}")
        return None
    stream = streams[0]
    _check_attributes(stream, warn)
    parameters: dict[str, str] = {}
    for child in stream:
        if child.tag != "Parameter":
            warn(12200, f"<{child.tag}> is not allowed in <Stream>; it is skipped")
            continue
        _check_attributes(child, warn)
        name, value = child.get("name", ""), child.get("value", "")
        if not name or len(name) + len(value) > 500:
            warn(12200, "a <Parameter> needs a name, and name and value together at most 500 characters; it is skipped")
            continue
        parameters[name] = value
    if stream.get("track", "inbound_track") != "inbound_track":
        warn(12200, "<Connect><Stream> only knows track=inbound_track")
    return Stream(
        url=stream.get("url", ""),
        name=stream.get("name", ""),
        parameters=parameters,
        status_callback=stream.get("statusCallback", ""),
        status_callback_method=_method(stream, "statusCallbackMethod", warn),
    )


def _check_attributes(element: ET.Element, warn: Warn) -> None:
    unknown = set(element.keys()) - _ATTRIBUTES[element.tag]
    if unknown:
        warn(12200, f"<{element.tag}> does not have {', '.join(sorted(unknown))}")


def _number(element: ET.Element, name: str, default: float, warn: Warn) -> float:
    text = element.get(name)
    # Twilio also takes "auto" where it can find the value itself.
    if text is None or text == "auto":
        return default
    if not text.isdigit():
        warn(12200, f"<{element.tag} {name}={text!r}> is not a whole number")
        return default
    return float(text)


def _method(element: ET.Element, name: str, warn: Warn) -> str:
    method = element.get(name, "POST").upper()
    if method not in {"GET", "POST"}:
        warn(12200, f"<{element.tag} {name}={method!r}> is not GET or POST")
        return "POST"
    return method
