"""What local recognition hears of the plans that ship: spoken by many voices, over a clean line and a noisy one.

See README.md beside this file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import soxr  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from core.domain import utterance  # noqa: E402
from core.judge.rules import judge  # noqa: E402
from core.plans.model import Checkpoint, CompleteWhen, Plan  # noqa: E402
from core.speech import mulaw  # noqa: E402
from core.speech.base import SAMPLE_RATE  # noqa: E402
from core.speech.local import EspeakSynthesizer  # noqa: E402

SEED = 20
PLANS = ("demo-check-in", "daily-reflection", "medication-check-in")
Sound = NDArray[np.float64]


@dataclass(frozen=True)
class Voice:
    """An eSpeak voice, how fast it speaks, and by which factor its pitch and its mouth are larger than made."""

    name: str
    words_per_minute: int
    stretch: float = 1.0

    def __str__(self) -> str:
        return f"{self.name} {self.words_per_minute} wpm" + (f" x{self.stretch:g}" if self.stretch != 1 else "")


VOICES = (
    Voice("en-us", 165),
    Voice("en-us+f2", 175),
    Voice("en-us+m3", 150),
    Voice("en-us+f3", 160, 1.04),
    Voice("en-us+m7", 180, 0.96),
    Voice("en-us+f4", 145),
)


@dataclass(frozen=True)
class Line:
    """`snr_db`: the speech's own loudness, pauses left out, over that of the noise."""

    name: str
    snr_db: float


LINES = (Line("clean", 35), Line("moderate noise", 18), Line("street", 10))

# Said by people who want no more calls, in words that no model was told to expect.
OTHER_OPT_OUTS = (
    "please do not call this number anymore",
    "you must stop these phone calls",
    "i told you to stop calling",
    "please remove me from your call list",
    "i do not want to be called",
    "quit calling me",
    "delete my number please",
    "i want you to stop calling me",
)
# Ordinary speech that no plan expects, some of it near to a wish to be left alone: none of it is one.
OTHER_SPEECH = (
    "the carpenter fixed our kitchen cupboard",
    "our grandson visited on saturday",
    "the bus was terribly crowded",
    "i watched a documentary about elephants",
    "let me find a pencil",
    "my daughter will call me back tomorrow",
    "i could not stop laughing",
    "i do not want to talk about that",
    "my sister never calls me",
    "i took it off the shelf",
    "the list was much too long",
    "i forgot the number of my room",
    "they removed the old furniture",
    "i stopped at the market",
    "we played cards and i won three times",
    "it rained the whole afternoon",
    "i was not very interested in the film",
    "the doctor changed my medicine",
    "leave the door open please",
    "i am still waiting for a letter",
)
YES_NO = Checkpoint(id="yes_no", prompt="Well?", complete_when=CompleteWhen(kind="yes_no"), follow_up="Well?")

# Words that carry grammar, not meaning: "i feel fine" and "i felt fine" are the same answer to us.
_SMALL_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "i",
        "my",
        "me",
        "am",
        "is",
        "was",
        "are",
        "were",
        "be",
        "been",
        "to",
        "of",
        "and",
        "do",
        "did",
        "have",
        "had",
        "has",
        "will",
        "would",
        "feel",
        "felt",
        "so",
        "very",
        "it",
    ]
)


@dataclass(frozen=True)
class Sentence:
    """What is said, and to which question."""

    plan: str
    group: str
    text: str
    checkpoint: Checkpoint | None = None


def sentences(plan: Plan) -> Iterator[Sentence]:
    """Every phrase the plan expects, with the question it answers."""
    groups = {"yes_no": "yes and no", "number": "numbers"}
    for checkpoint in plan.checkpoints:
        group = groups.get(checkpoint.complete_when.kind, "answers")
        phrases = (*checkpoint.hints, *checkpoint.complete_when.phrases)
        for phrase in dict.fromkeys((*phrases, *utterance.NUMBER_WORDS) if group == "numbers" else phrases):
            yield Sentence(plan.name, group, phrase, checkpoint)
    for phrase in dict.fromkeys((*utterance.YES_PHRASES, *utterance.NO_PHRASES)):
        yield Sentence(plan.name, "yes and no", phrase, YES_NO)
    for phrase in utterance.OPT_OUT_PHRASES:
        yield Sentence(plan.name, "opt-outs", phrase)
    for phrase in OTHER_OPT_OUTS:
        yield Sentence(plan.name, "opt-outs in other words", phrase)
    for phrase in (*utterance.REPEAT_PHRASES, *utterance.WHO_PHRASES, *utterance.GOODBYE_PHRASES):
        yield Sentence(plan.name, "about the call", phrase)
    for phrase in OTHER_SPEECH:
        yield Sentence(plan.name, "other speech", phrase)


def verdict(sentence: Sentence, heard: str) -> str:
    """right, asked again (we did not understand, and say so), wrong (we took something else for it), or opt-out (which it was not)."""
    stops = utterance.asks_to_stop(heard)
    if sentence.group.startswith("opt-outs"):
        return "right" if stops else "wrong" if heard else "asked again"
    if stops:
        return "opt-out"
    if sentence.group == "other speech":
        return "wrong" if heard else "right"
    about = _about_the_call(heard)
    if sentence.checkpoint is None or about is not None:
        expected = _about_the_call(sentence.text)
        return "right" if about == expected else "wrong" if heard else "asked again"
    return _answers(sentence.checkpoint, sentence.text, heard)


def _answers(checkpoint: Checkpoint, said: str, heard: str) -> str:
    wanted, got = judge(checkpoint, [said]), judge(checkpoint, [heard] if heard else [])
    if not got.complete:
        return "asked again" if wanted.complete else "right"
    if checkpoint.complete_when.kind == "any_answer":
        return "right" if _meaning(said) == _meaning(heard) else "wrong"
    return "right" if got.answer == wanted.answer else "wrong"


def _about_the_call(text: str) -> str | None:
    for name, asks in (("goodbye", utterance.says_goodbye), ("who", utterance.asks_who), ("repeat", utterance.asks_to_repeat)):
        if asks(text):
            return name
    return None


def _meaning(text: str) -> list[str]:
    """The words that carry it; all of them, where there are only small ones."""
    said = utterance.content_words(text)
    return [word for word in said if word not in _SMALL_WORDS] or list(said)


# --- sound ------------------------------------------------------------------------------------------------------------


@cache
def spoken(text: str, voice: Voice) -> Sound:
    """8 kHz samples."""
    linear = mulaw.decode(EspeakSynthesizer(voice.name, voice.words_per_minute).synthesize(text))
    samples: Sound = np.frombuffer(linear, np.int16).astype(np.float64)
    return soxr.resample(samples, SAMPLE_RATE * voice.stretch, SAMPLE_RATE) if voice.stretch != 1 else samples


def on_the_line(speech: Sound, line: Line, seed: str) -> bytes:
    """Mu-law of the speech with a pause before and after, all of it in the noise of a telephone line.

    The noise is the hiss of a circuit, stronger in the lows as the noise of rooms and streets is, with the hum of the mains.
    """
    dice = np.random.default_rng(list(seed.encode()))
    # A call has been on the line for a while when the contact speaks.
    before, after = SAMPLE_RATE * int(dice.integers(1500, 2500)) // 1000, SAMPLE_RATE * 700 // 1000
    clear = np.concatenate([np.zeros(before), speech, np.zeros(after)])
    spectrum = np.fft.rfft(dice.standard_normal(len(clear)))
    hertz = np.fft.rfftfreq(len(clear), 1 / SAMPLE_RATE)
    # A telephone passes 300 to 3400 Hz: outside it is quieter by far.
    shape = np.where((hertz > 300) & (hertz < 3400), 1.0, 0.1) / np.sqrt(np.maximum(hertz, 100) / 100)
    noise = np.fft.irfft(spectrum * shape, len(clear))
    noise /= np.sqrt(np.mean(noise**2))
    noise += 0.3 * np.sin(2 * np.pi * 120 * np.arange(len(clear)) / SAMPLE_RATE + dice.uniform(0, 6))
    noise *= _loudness(speech) / np.sqrt(np.mean(noise**2)) / 10 ** (line.snr_db / 20)
    return mulaw.encode((clear + noise).clip(-32768, 32767).astype(np.int16).tobytes())


def _loudness(speech: Sound) -> float:
    """Root mean square over the frames that hold speech."""
    frames = speech[: len(speech) // 160 * 160].reshape(-1, 160)
    energies = np.mean(frames**2, axis=1)
    return float(np.sqrt(np.mean(energies[energies > energies.max() / 100])))
