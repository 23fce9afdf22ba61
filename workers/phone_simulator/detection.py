"""Answering machine detection. Source: docs/voice/answering-machine-detection, and its FAQ."""

from __future__ import annotations

from dataclasses import dataclass

from workers.phone_simulator.behaviours import Behaviour
from workers.phone_simulator.ledger import CallRecord
from workers.phone_simulator.weather import Dice

_DEFAULT_TIMEOUT = 30.0
_DEFAULT_SILENCE_MS = 5000.0


@dataclass(frozen=True, slots=True)
class Detection:
    """What detection will say, and after how many seconds."""

    verdict: str
    seconds: float


def is_wanted(call: CallRecord) -> bool:
    """Twilio ignores MachineDetection when SendDigits is given."""
    return call.asked("MachineDetection") is not None and call.asked("SendDigits") is None


def detect(call: CallRecord, behaviour: Behaviour, dice: Dice) -> Detection:
    """As the create asked for it. DetectMessageEnd waits for the beep, or for the silence after a greeting without one."""
    verdict = behaviour.verdict
    greeting = len((behaviour.greeting or "").split()) * 60 / behaviour.words_per_minute
    longest_human = call.asked("MachineDetectionSpeechThreshold")
    if verdict == "machine_start" and longest_human is not None and greeting * 1000 < float(longest_human):
        verdict = "human"
    seconds = behaviour.detection_seconds + dice.between("detection", dice.weather.detection_longer_by)
    if dice.hits("detection unsure", dice.weather.detection_unsure):
        verdict = "unknown"
    if verdict == "machine_start" and call.asked("MachineDetection") == "DetectMessageEnd":
        if behaviour.beep_seconds:
            verdict, seconds = "machine_end_beep", seconds + greeting + behaviour.beep_seconds
        else:
            quiet = float(call.asked("MachineDetectionSilenceTimeout") or _DEFAULT_SILENCE_MS) / 1000
            verdict, seconds = "machine_end_silence", seconds + greeting + quiet
    timeout = float(call.asked("MachineDetectionTimeout") or _DEFAULT_TIMEOUT)
    return Detection("unknown", timeout) if seconds > timeout else Detection(verdict, seconds)
