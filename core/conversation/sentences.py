"""A reply cut into sentences: each is synthesised, marked and heard by itself."""

from __future__ import annotations

import re

_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+")
# A full stop behind one of these, or behind a single letter, does not end a sentence.
_ABBREVIATIONS = frozenset({"mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "approx", "no"})


def sentences(text: str) -> list[str]:
    """The sentences of `text`, in order, none of them empty."""
    found: list[str] = []
    start = 0
    for match in _END.finditer(text):
        last_word = text[start : match.start()].rsplit(None, 1)[-1]
        bare = last_word.rstrip(".").lower()
        if last_word.endswith(".") and (bare in _ABBREVIATIONS or (len(bare) == 1 and bare.isalpha() and bare != "i") or "." in bare):
            continue
        found.append(text[start : match.start()].strip())
        start = match.end()
    rest = text[start:].strip()
    if rest:
        found.append(rest)
    return [sentence for sentence in found if sentence]
