"""Numbers as people say and type them: "two hundred and one", "7.5", "half past three", "about eight, out of ten"."""

from __future__ import annotations

from core.domain.spoken_words import content_words, words

_UNIT_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = {word: value for value, word in enumerate(_UNIT_WORDS.split())} | {"nought": 0, "nil": 0, "dozen": 12, "once": 1, "twice": 2}
_TENS = {word: 10 * value for value, word in enumerate(_TEN_WORDS.split(), start=2)}
_LARGE = {"thousand": 1e3, "million": 1e6}
# All that was said: nothing is a number, too, and a recogniser writes a lone "two" as it likes.
_ALONE = {
    ("none",): 0.0,
    ("none", "at", "all"): 0.0,
    ("none", "of", "them"): 0.0,
    ("not", "any"): 0.0,
    ("not", "a", "single", "one"): 0.0,
    ("half",): 0.5,
    ("to",): 2.0,
    ("too",): 2.0,
    ("for",): 4.0,
    ("ate",): 8.0,
    ("won",): 1.0,
}
# "No one", "this one": not the number.
_NOT_A_NUMBER_AFTER = frozenset("no this that any every some which each another good bad last next the".split())  # noqa: SIM905
# "Three quarters" is less than three.
_PARTS = frozenset("quarter quarters third thirds fourth fourths fifth fifths halves".split())  # noqa: SIM905
# "Four out of ten", "three over five": the scale, not the answer.
_SCALES = frozenset({5.0, 10.0, 20.0, 100.0})
_CORRECTIONS = frozenset({"no", "sorry", "mean", "actually", "rather", "wait"})
_OF_THE_HOUR: dict[tuple[str, ...], float] = {
    ("half", "past"): 0.5,
    ("quarter", "past"): 0.25,
    ("quarter", "after"): 0.25,
    ("quarter", "to"): -0.25,
    ("quarter", "of"): -0.25,
}


def number_in(text: str) -> str | None:
    """The one number in the text, as digits ("seven and a half" -> "7.5"); None if there is none, or several.

    "Four out of ten" is four. A number that corrects the one before it ("three, no, four") wins. "None" is zero, and a
    time of day counts in hours ("half past three" -> "3.5").
    """
    said = words(text)
    found: list[tuple[int, float]] = []
    position = 0
    while position < len(said):
        taken, value = _number_at(said, position)
        if taken == 0:
            position += 1
            continue
        before = said[max(0, position - 2) : position]
        is_scale = bool(found) and value in _SCALES and (before[-2:] == ("out", "of") or before[-1:] in {("over",), ("of",)})
        if not is_scale:
            found.append((position, 6.0 if before == ("half", "a") and value == 12 else value + _OF_THE_HOUR.get(before, 0.0)))
        position += taken
    if len({value for _, value in found}) > 1:
        first_after = found[0][0]
        corrected = any(word in _CORRECTIONS for word in said[first_after : found[-1][0]])
        found = found[-1:] if corrected else []
    elif not found:
        alone = _ALONE.get(content_words(text))
        return None if alone is None else _digits(alone)
    return _digits(found[-1][1]) if found else None


def _digits(value: float) -> str:
    return str(int(value)) if value == int(value) else str(round(value, 6))


def _number_at(said: tuple[str, ...], start: int) -> tuple[int, float]:
    """Words taken from `start`, and the value they spell; (0, 0.0) if no number starts there."""
    if said[start] in {"minus", "negative"} and start + 1 < len(said):
        taken, value = _number_at(said, start + 1)
        return (taken + 1, -value) if taken else (0, 0.0)
    if said[start] == "point":
        return _decimals(said, start)
    taken, value = _whole_at(said, start)
    if not taken:
        return 0, 0.0
    position = start + taken
    if said[position : position + 1] and said[position] in _PARTS:
        return 0, 0.0
    if said[position : position + 3] == ("and", "a", "half"):
        return taken + 3, value + 0.5
    decimals, share = _decimals(said, position)
    return taken + decimals, value + share


def _decimals(said: tuple[str, ...], position: int) -> tuple[int, float]:
    """ "point two five": three words, 0.25."""
    if said[position : position + 1] != ("point",):
        return 0, 0.0
    share, weight, taken = 0.0, 0.1, 1
    for word in said[position + 1 :]:
        if _UNITS.get(word, 10) > 9 or taken > 6:
            break
        share, weight, taken = share + weight * _UNITS[word], weight / 10, taken + 1
    return (taken, share) if taken > 1 else (0, 0.0)


def _whole_at(said: tuple[str, ...], start: int) -> tuple[int, float]:
    position = start
    total = 0.0
    current: float | None = None
    last_scale = ""
    while position < len(said):
        word = said[position]
        if word.lstrip("-")[0].isdigit():
            if current is not None or total:
                break
            current, last_scale = _typed(word), "digits"
        elif word in _TENS:
            if current is not None and last_scale != "hundred":
                break
            current, last_scale = (current or 0) + _TENS[word], "tens"
        elif word in _UNITS:
            value = _UNITS[word]
            if current is None:
                if word == "one" and start > 0 and position == start and said[start - 1] in _NOT_A_NUMBER_AFTER:
                    return 0, 0.0
                current = value
            elif last_scale == "hundred" or (last_scale == "tens" and 0 < value < 10):
                current += value
            else:
                break
            last_scale = "units"
        elif word == "hundred" and current is None and not total and (start == 0 or said[start - 1] == "a"):
            current, last_scale = 100, "hundred"
        elif word == "hundred" and current is not None and 0 < current < 100 and last_scale in {"units", "digits", "tens"}:
            current, last_scale = current * 100, "hundred"
        elif word in _LARGE and current is not None and 0 < current < 1000 and total % (_LARGE[word] * 1000) == 0:
            total, current, last_scale = total + current * _LARGE[word], None, "hundred"
        elif word == "and" and last_scale == "hundred" and _starts_number(said, position + 1):
            pass
        else:
            break
        position += 1
    if current is None and not total:
        return 0, 0.0
    return position - start, total + (current or 0)


def _typed(word: str) -> float:
    """Longer digit strings are ids, not amounts; they must not overflow either. "8:30" is a time of day, in hours."""
    hours, _, minutes = word[:12].partition(":")
    return float(hours) + (float(minutes) / 60 if minutes else 0.0)


def _starts_number(said: tuple[str, ...], position: int) -> bool:
    return position < len(said) and (said[position] in _TENS or said[position] in _UNITS)
