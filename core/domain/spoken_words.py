"""Text as it was said or typed, cut into plain words: what every rule about an utterance reads."""

from __future__ import annotations

import re

# A recogniser's or a mailer's runaway text is cut: no rule needs more, and none may cost more.
MAX_CHARACTERS = 4000

FILLERS = frozenset(
    {"a", "ah", "eh", "er", "erm", "hm", "hmm", "like", "mhm", "mm", "oh", "okay", "ok", "please", "so", "uh", "um", "well", "huh", "the"}
)

# A minus belongs to a number only where it cannot be a hyphen: "minus -5" but not "7-8".
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*|(?<!\S)-\d+(?:\.\d+)?|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.:]\d+)?")
_APOSTROPHES = str.maketrans("\u2019\u2018\u02bc`", "''''")
_IRREGULAR = {
    "can't": "can not",
    "who's": "who is",
    "what's": "what is",
    "that's": "that is",
    "it's": "it is",
    "he's": "he is",
    "she's": "she is",
    "there's": "there is",
    "where's": "where is",
    "let's": "let us",
    "ma'am": "madam",
    "o'clock": "oclock",
    "cannot": "can not",
    "won't": "will not",
    "shan't": "shall not",
    "ain't": "is not",
    "gonna": "going to",
    "gotta": "got to",
    "wanna": "want to",
    "lemme": "let me",
    "dunno": "do not know",
    "anymore": "any more",
    "nobody's": "nobody is",
    # Typed in a hurry, or written by a recogniser that knows no apostrophe.
    "dont": "do not",
    "didnt": "did not",
    "doesnt": "does not",
    "havent": "have not",
    "wont": "will not",
    "cant": "can not",
    "isnt": "is not",
    "im": "i am",
    "ive": "i have",
    "u": "you",
    "pls": "please",
    "plz": "please",
}
_ENDINGS = (("n't", " not"), ("'ve", " have"), ("'m", " am"), ("'re", " are"), ("'ll", " will"), ("'d", " would"))


def words(text: str) -> tuple[str, ...]:
    """Lower-case words with contractions written out ("haven't" -> "have", "not"); numbers stay digits, "1,000" becomes "1000"."""
    found: list[str] = []
    for word in _WORD.findall(text[:MAX_CHARACTERS].lower().translate(_APOSTROPHES)):
        found.extend(_expanded(word).split())
    return tuple(found)


def _expanded(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    for ending, meaning in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending):
            return word.removesuffix(ending) + meaning
    return word.replace(",", "")


def content_words(text: str) -> tuple[str, ...]:
    """The words that carry meaning: hesitations left out."""
    return tuple(word for word in words(text) if word not in FILLERS)
