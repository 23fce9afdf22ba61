"""Streaming recognition as Google's two interfaces spell it: v1 for every project, v2 for a recognizer that somebody set up.

Requests are built as plain protocol buffers: the wrappers cost ten times as much, 10 times a second and call.
Sources: google/cloud/speech_v1/types/cloud_speech.py, google/cloud/speech_v2/types/cloud_speech.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.cloud import speech_v1, speech_v2

from core.speech.base import SAMPLE_RATE

# Content limits of speech adaptation: phrases in a request, characters in a phrase, characters in all.
_PHRASES = 5000
_PHRASE_CHARACTERS = 100
_ALL_CHARACTERS = 100_000
_BEGIN = 2  # SPEECH_ACTIVITY_BEGIN, in both


@dataclass(frozen=True, slots=True)
class Final:
    """Words that will not change. `end` is where they end in the stream's audio, in bytes; None when Google does not say."""

    text: str
    confidence: float | None
    end: int | None


@dataclass(frozen=True, slots=True)
class Heard:
    """One response. `began_at`: somebody begins to speak, bytes into the stream. `status`: a gRPC code and a message."""

    finals: tuple[Final, ...] = ()
    interim: str = ""
    began_at: int | None = None
    status: tuple[int, str] | None = None


class Wire(Protocol):
    client: Any

    def opening(self, hints: Sequence[str]) -> Any:
        """A stream's first request."""
        ...

    def audio(self, content: bytes) -> Any: ...

    def read(self, response: Any) -> Heard: ...


class WireV1:
    """Model phone_call (the enhanced one), telephony, or another of v1's."""

    client = speech_v1.SpeechAsyncClient
    _request = speech_v1.StreamingRecognizeRequest.pb()

    def __init__(self, language: str, model: str) -> None:
        self._language = language
        self._model = model

    def opening(self, hints: Sequence[str]) -> Any:
        phrases = fitting(hints)
        config = {
            "encoding": int(speech_v1.RecognitionConfig.AudioEncoding.MULAW),
            "sample_rate_hertz": SAMPLE_RATE,
            "audio_channel_count": 1,
            "language_code": self._language,
            "model": self._model,
            "use_enhanced": self._model == "phone_call",
            "max_alternatives": 1,
            "enable_automatic_punctuation": True,
            "speech_contexts": [{"phrases": phrases}] if phrases else [],
        }
        streaming = {"config": config, "interim_results": True, "enable_voice_activity_events": True}
        return self._request(streaming_config=streaming)

    def audio(self, content: bytes) -> Any:
        return self._request(audio_content=content)

    def read(self, response: Any) -> Heard:
        raw = type(response).pb(response)
        status = (raw.error.code, raw.error.message) if raw.error.code else None
        return _heard(raw, "result_end_time", raw.speech_event_time, status)


class WireV2:
    """`recognizer` is projects/P/locations/L/recognizers/R; R is _ for one that need not be set up."""

    client = speech_v2.SpeechAsyncClient
    _request = speech_v2.StreamingRecognizeRequest.pb()

    def __init__(self, language: str, model: str, recognizer: str) -> None:
        self._language = language
        self._model = model
        self._recognizer = recognizer

    def opening(self, hints: Sequence[str]) -> Any:
        phrases = [{"value": phrase} for phrase in fitting(hints)]
        config = {
            "explicit_decoding_config": {
                "encoding": int(speech_v2.ExplicitDecodingConfig.AudioEncoding.MULAW),
                "sample_rate_hertz": SAMPLE_RATE,
                "audio_channel_count": 1,
            },
            "language_codes": [self._language],
            "model": self._model,
            "features": {"enable_automatic_punctuation": True, "max_alternatives": 1},
        }
        if phrases:
            config["adaptation"] = {"phrase_sets": [{"inline_phrase_set": {"phrases": phrases}}]}
        features = {"interim_results": True, "enable_voice_activity_events": True}
        return self._request(recognizer=self._recognizer, streaming_config={"config": config, "streaming_features": features})

    def audio(self, content: bytes) -> Any:
        return self._request(audio=content)

    def read(self, response: Any) -> Heard:
        raw = type(response).pb(response)
        return _heard(raw, "result_end_offset", raw.speech_event_offset, None)


def fitting(hints: Sequence[str]) -> list[str]:
    """The hints that Google takes, each once, the first ones first."""
    room = _ALL_CHARACTERS
    kept: list[str] = []
    for hint in dict.fromkeys(hints):
        if not 0 < len(hint) <= _PHRASE_CHARACTERS:
            continue
        room -= len(hint)
        if room < 0 or len(kept) == _PHRASES:
            break
        kept.append(hint)
    return kept


def _heard(raw: Any, end: str, event_time: Any, status: tuple[int, str] | None) -> Heard:
    finals = []
    interim = ""
    for result in raw.results:
        best = result.alternatives[0] if result.alternatives else None
        text = best.transcript if best is not None else ""
        if result.is_final:
            ends = _bytes(getattr(result, end)) if result.HasField(end) else None
            finals.append(Final(text.strip(), (best.confidence or None) if best is not None else None, ends))
        else:
            # A stable part and a part that may change, which together are what is being said.
            interim += text
    began = _bytes(event_time) if raw.speech_event_type == _BEGIN else None
    return Heard(tuple(finals), interim.strip(), began, status)


def _bytes(duration: Any) -> int:
    return int((duration.seconds + duration.nanos / 1e9) * SAMPLE_RATE)
