"""From a plan's hints to what PocketSphinx needs: a language model, a dictionary of only its words, and fillers.

With the full dictionary a decoder works for seconds on one utterance; with some hundred words it is far faster than
real time. The model is a trigram over the hints, sharp enough to keep their word order, with a small share of its mass
left for any other order of the same words, and with hints joined by "and".

Speech outside the hints must not be bent into the nearest hint: each phone of the acoustic model is also a filler
word, which costs little enough to win where no word fits, and too much where one does.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

VERSION = 2
# Probability mass that leaves the hints' own word order, at each step. Measured together with FILLER_PROBABILITY on the
# plans that ship: with a tenth no more answers were right, and half as much strange speech again passed for hints.
OTHER_ORDERS = 0.001
FILLER_PROBABILITY = 1e-16
# People join two answers, or begin and end one with these; they alone are no answer, and a breath sounds like some.
GLUE = ("and", "but", "i", "so", "well", "uh", "um")
# "i" begins many an answer that is cut short after it.
_EDGES = tuple(word for word in GLUE if word != "i")
_OPENERS = ("and", "yes", "no", "well")
PHONES = tuple("AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split())  # noqa: SIM905
# The three noises of the en-us acoustic model are kept; its own file has them, too.
_NOISES = ("<s> SIL", "</s> SIL", "<sil> SIL", "[NOISE] +NSN+", "[SPEECH] +SPN+")

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


def normalised(hints: Iterable[str]) -> tuple[str, ...]:
    """Hints as the recogniser spells them: lower case, words only, each once, in order."""
    spelled = (" ".join(_WORD.findall(hint.lower().replace("\u2019", "'"))) for hint in hints)
    return tuple(dict.fromkeys(hint for hint in spelled if hint))


def digest(hints: Sequence[str]) -> str:
    """Names the model of these (normalised) hints; another version of this module makes other models."""
    return hashlib.sha256("\n".join((str(VERSION), *hints)).encode()).hexdigest()[:24]


def read_pronunciations(dictionary: Path, words: frozenset[str]) -> dict[str, list[str]]:
    """The CMU dictionary's pronunciations of `words`, the most common one first. Unknown words are left out."""
    found: dict[str, list[str]] = {}
    with dictionary.open(encoding="utf-8") as lines:
        for line in lines:
            spelling, _, phones = line.rstrip().partition(" ")
            word = spelling.partition("(")[0]
            if word in words:
                found.setdefault(word, []).append(phones.strip())
    return found


def dictionary_lines(pronunciations: dict[str, list[str]]) -> Iterator[str]:
    for word in sorted(pronunciations):
        for number, phones in enumerate(pronunciations[word], start=1):
            yield f"{word if number == 1 else f'{word}({number})'} {phones}"


def filler_lines() -> Iterator[str]:
    yield from _NOISES
    for phone in PHONES:
        yield f"+{phone}+ {phone}"


def sentences(hints: Sequence[str]) -> Iterator[str]:
    """The corpus: each hint alone counts most; then hints joined to others as people join them."""
    for hint in hints:
        yield from (hint, hint, hint, f"{hint} and")
        yield from (f"{opener} {hint}" for opener in _OPENERS)
    yield from GLUE


def arpa(corpus: Iterable[str], other_orders: float = OTHER_ORDERS) -> str:
    """An interpolated trigram model in ARPA format. Raises ValueError for a corpus without words."""
    singles: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    triples: Counter[tuple[str, str, str]] = Counter()
    for sentence in corpus:
        words = ("<s>", *sentence.split(), "</s>")
        singles.update(words)
        pairs.update(itertools.pairwise(words))
        triples.update(zip(words, words[1:], words[2:], strict=False))
    vocabulary = sorted(word for word in singles if word != "<s>")
    if len(vocabulary) < 2:
        raise ValueError("a language model needs at least one word")
    total = sum(singles[word] for word in vocabulary) + len(vocabulary)
    after_one: Counter[str] = Counter()
    for (first, _), count in pairs.items():
        after_one[first] += count
    after_two: Counter[tuple[str, str]] = Counter()
    for (first, second, _), count in triples.items():
        after_two[first, second] += count

    kept = 1 - other_orders
    one = {word: (singles[word] + 1) / total for word in vocabulary}
    two = {pair: kept * count / after_one[pair[0]] + other_orders * one[pair[1]] for pair, count in pairs.items()}
    three = {triple: kept * count / after_two[triple[:2]] + other_orders * two[triple[1:]] for triple, count in triples.items()}
    # Because the seen n-grams already hold their share of the lower order, the weight of backing off is that share itself.
    lines = ["\\data\\", f"ngram 1={len(one) + 1}", f"ngram 2={len(two)}", f"ngram 3={len(three)}"]
    lines += ["", "\\1-grams:", f"-99.0000 <s> {_log(other_orders)}"]
    lines += [f"{_log(p)} {word} {_log(other_orders if word in after_one else 1)}" for word, p in one.items()]
    lines += ["", "\\2-grams:"]
    lines += [f"{_log(p)} {a} {b} {_log(other_orders if (a, b) in after_two else 1)}" for (a, b), p in sorted(two.items())]
    lines += ["", "\\3-grams:"]
    lines += [f"{_log(p)} {a} {b} {c}" for (a, b, c), p in sorted(three.items())]
    return "\n".join((*lines, "", "\\end\\", ""))


def _log(probability: float) -> str:
    return f"{math.log10(probability):.4f}"


def whole_hints(text: str, hints: Sequence[str]) -> str:
    """Of a doubtful transcript, what is least likely to be chance: whole hints of three words and more.

    "i did" and "i have" turn up in any speech, and would be taken for a yes.
    """
    words = text.split()
    wanted = sorted((hint.split() for hint in hints if hint.count(" ") >= 2), key=len, reverse=True)
    kept: list[str] = []
    position = 0
    while position < len(words):
        hint = next((hint for hint in wanted if words[position : position + len(hint)] == hint), None)
        kept += hint or ()
        position += len(hint) if hint else 1
    return " ".join(kept)


def without_edges(text: str, hints: Sequence[str]) -> str:
    """`text` without the small words at its ends, unless a hint begins or ends there; nothing, if it has no others."""
    words = text.split()
    while words and words[0] in _EDGES and not any(" ".join(words[:end]) in hints for end in range(1, len(words) + 1)):
        words = words[1:]
    while words and words[-1] in GLUE and not any(" ".join(words[start:]) in hints for start in range(len(words))):
        words = words[:-1]
    return " ".join(words)
