"""PocketSphinx over one stretch of speech: the words that fit a plan best, and how badly each of them fits.

One acoustic model serves all plans and calls of a process; a plan adds its language model and its words, a megabyte or
two. A stretch is decoded as a whole: its own average is then taken out of the features, which a telephone line and a
voice shift by far more than two words differ.

A language model bends any speech into its own words. So each stretch is decoded twice, the second time as mere sounds
in any order: where these fit much better than the words, the words were not said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.speech.local import language_model
from core.speech.local.everyday_words import EVERYDAY_WORDS

# Models kept besides those in use: compiled again from the folder in some milliseconds.
KEPT_MODELS = 16
# Gaussians looked at in each codebook. The default of 4 is faster by a fifth, and mishears 1 in 50 more.
_TOP_GAUSSIANS = 8
_SOUNDS = "sounds"
# PocketSphinx scales the scores of its phone loop down by so much (SENSCR_SHIFT).
_PHONE_LOOP_SCALE = 1024
_SILENCES = frozenset({"<s>", "</s>", "<sil>", "[NOISE]", "[SPEECH]"})


@dataclass(frozen=True, slots=True)
class HeardWord:
    """`frames` of 10 ms; `strangeness`: by how much sounds in any order fit better, in nats a frame.

    `posterior`: 0 to 1, against other words.
    """

    word: str
    frames: int  # of 10 ms
    strangeness: float
    posterior: float


class Decoder:
    """`folder` holds compiled models; it may be shared with other processes."""

    def __init__(self, folder: Path) -> None:
        import pocketsphinx

        self._folder = folder
        self._dictionary = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
        self._sphinx: Any = pocketsphinx.Decoder(
            pocketsphinx.Config(
                samprate=16000,
                loglevel="FATAL",
                hmm=pocketsphinx.get_model_path("en-us/en-us"),
                lm=None,
                dict=None,
                cmn="batch",
                topn=_TOP_GAUSSIANS,
                allphone_ci=True,
            )
        )
        self._sphinx.add_allphone_file(_SOUNDS, None)
        self._loaded: dict[str, None] = {}

    def prepare(self, model: str, hints: tuple[str, ...]) -> list[str]:
        """Make the model ready. Returns words of the hints that have no pronunciation, if it had to be compiled."""
        unknown: list[str] = []
        if not (self._folder / f"{model}.dict").exists():
            unknown = self._compile(model, hints)
        self._load(model)
        return unknown

    def words(self, model: str, speech: bytes) -> list[HeardWord]:
        """Of a whole stretch of 16-bit speech at 16 kHz. `model` was prepared before."""
        self._load(model)
        pieces = self._decoded(model, speech)
        if not any(word not in _SILENCES for word, *_ in pieces):
            return []
        sounds = [0.0] * (pieces[-1][2] + 1)
        for _, start, end, score, _ in self._decoded(_SOUNDS, speech):
            share = _PHONE_LOOP_SCALE * score / (end - start + 1)
            sounds[start : end + 1] = [share] * (min(end + 1, len(sounds)) - start)
        heard = []
        for word, start, end, score, posterior in pieces:
            if word not in _SILENCES:
                frames = end - start + 1
                strangeness = (sum(sounds[start : end + 1]) - score) / frames
                heard.append(HeardWord(word.partition("(")[0], frames, round(strangeness, 3), round(min(posterior, 1.0), 3)))
        return heard

    def _decoded(self, search: str, speech: bytes) -> list[tuple[str, int, int, float, float]]:
        sphinx = self._sphinx
        sphinx.activate_search(search)
        sphinx.start_utt()
        sphinx.process_raw(speech, full_utt=True)
        sphinx.end_utt()
        # Without a hypothesis there is no segmentation to ask for.
        if sphinx.hyp() is None:
            return []
        return [(piece.word, piece.start_frame, piece.end_frame, _log(piece.ascore), piece.prob) for piece in sphinx.seg() or ()]

    def _load(self, model: str) -> None:
        if model in self._loaded:
            # The least recently used one is the first.
            self._loaded[model] = self._loaded.pop(model)
            return
        for line in (self._folder / f"{model}.dict").read_text(encoding="utf-8").splitlines():
            word, _, phones = line.partition(" ")
            if self._sphinx.lookup_word(word) is None:
                self._sphinx.add_word(word, phones, False)
        self._sphinx.add_lm_file(model, str(self._folder / f"{model}.arpa"))
        self._loaded[model] = None
        if len(self._loaded) > KEPT_MODELS:
            oldest = next(iter(self._loaded))
            del self._loaded[oldest]
            self._sphinx.remove_search(oldest)

    def _compile(self, model: str, hints: tuple[str, ...]) -> list[str]:
        sentences = list(language_model.sentences(hints))
        words = frozenset(word for sentence in sentences for word in sentence.split())
        pronunciations = language_model.read_pronunciations(self._dictionary, words | EVERYDAY_WORDS)
        usable = [sentence for sentence in sentences if all(word in pronunciations for word in sentence.split())]
        language_model.write(self._folder / f"{model}.arpa", language_model.arpa(usable, pronunciations))
        # Last: its presence says that the other is there.
        language_model.write(self._folder / f"{model}.dict", _lines(language_model.dictionary_lines(pronunciations)))
        return sorted(words - pronunciations.keys())


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _log(probability: float) -> float:
    return math.log(max(probability, 1e-300))
