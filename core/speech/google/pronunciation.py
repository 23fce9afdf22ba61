"""Phonemes in a text, [[...]] as eSpeak NG writes them, in the form that Google's voices take.

The notation is the one the local voice reads, so that a contact's pronunciation need be written down once. Custom
pronunciations and SSML speak IPA; both want a written word beside it, which is also what a voice says that knows neither.
"""

# ruff: noqa: RUF001 - letters of the phonetic alphabet look like others

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

# eSpeak NG's mnemonics for English (espeak-ng/docs/phonemes.md): IPA, and how an English reader would write the sound.
_PHONEMES = {
    "aI@": ("aɪə", "ire"), "aU@": ("aʊə", "our"), "i@": ("ɪə", "eer"), "e@": ("ɛə", "air"), "U@": ("ʊə", "oor"),
    "A@": ("ɑːɹ", "ar"), "O@": ("ɔːɹ", "or"), "o@": ("ɔːɹ", "or"), "i:": ("iː", "ee"), "u:": ("uː", "oo"), "A:": ("ɑː", "ah"),
    "O:": ("ɔː", "aw"), "3:": ("ɜː", "er"), "eI": ("eɪ", "ay"), "aI": ("aɪ", "igh"), "OI": ("ɔɪ", "oy"), "aU": ("aʊ", "ow"),
    "oU": ("oʊ", "oh"), "tS": ("tʃ", "ch"), "dZ": ("dʒ", "j"), "aa": ("æ", "a"), "a#": ("ɐ", "a"), "I2": ("ɪ", "i"),
    "@L": ("əl", "ul"), "@2": ("ə", "a"), "@5": ("ə", "o"), "t#": ("ɾ", "t"), "n^": ("ɲ", "ny"), "l^": ("ʎ", "ly"),
    "a": ("æ", "a"), "A": ("ɑ", "ah"), "E": ("ɛ", "e"), "e": ("e", "e"), "I": ("ɪ", "i"), "i": ("i", "ee"), "0": ("ɒ", "o"),
    "o": ("o", "oh"), "O": ("ɔ", "aw"), "V": ("ʌ", "u"), "U": ("ʊ", "oo"), "u": ("u", "oo"), "@": ("ə", "a"), "3": ("ɚ", "er"),
    "p": ("p", "p"), "b": ("b", "b"), "t": ("t", "t"), "d": ("d", "d"), "k": ("k", "k"), "g": ("ɡ", "g"), "f": ("f", "f"),
    "v": ("v", "v"), "T": ("θ", "th"), "D": ("ð", "th"), "s": ("s", "s"), "z": ("z", "z"), "S": ("ʃ", "sh"), "Z": ("ʒ", "zh"),
    "h": ("h", "h"), "x": ("x", "kh"), "m": ("m", "m"), "n": ("n", "n"), "N": ("ŋ", "ng"), "l": ("l", "l"), "r": ("ɹ", "r"),
    "w": ("w", "w"), "j": ("j", "y"), "?": ("ʔ", ""),
    "'": ("ˈ", ""), ",": ("ˌ", ""), "%": ("", ""), "=": ("", ""), ":": ("ː", ""), "-": ("", ""), ";": ("ʲ", ""),
    " ": (" ", " "), "|": ("", ""), "_": (" ", " "),
}  # fmt: skip
_STRESS = ("ˈ", "ˌ")
_VOWELS = frozenset("aeiouæɐɑɒɔəɚɛɜɪʊʌ")
_INLINE = re.compile(r"\[\[(.*?)\]\]")
_UNSPEAKABLE = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Pronounced:
    """`word` is said as `ipa` says; "" where the phonemes are none we know."""

    word: str
    ipa: str


def parts(text: str) -> list[str | Pronounced]:
    """The text in order, its phonemes read. No control characters are left in it."""
    found: list[str | Pronounced] = []
    for index, piece in enumerate(_INLINE.split(_UNSPEAKABLE.sub(" ", text))):
        if index % 2:
            found.append(_pronounced(piece))
        elif piece:
            found.append(piece)
    return found


def plain(pieces: list[str | Pronounced]) -> str:
    return "".join(piece if isinstance(piece, str) else piece.word for piece in pieces)


def ssml(pieces: list[str | Pronounced]) -> str:
    """The text as SSML, whatever characters are in it."""
    return "<speak>" + "".join(_element(piece) for piece in pieces) + "</speak>"


def _element(piece: str | Pronounced) -> str:
    if isinstance(piece, str):
        return escape(piece)
    if not piece.ipa:
        return escape(piece.word)
    return f'<phoneme alphabet="ipa" ph={quoteattr(piece.ipa)}>{escape(piece.word)}</phoneme>'


def _pronounced(mnemonics: str) -> Pronounced:
    ipa: list[str] = []
    letters: list[str] = []
    rest = mnemonics.strip()
    while rest:
        length = next((length for length in (3, 2, 1) if rest[:length] in _PHONEMES), 0)
        if not length:
            # Not our notation: better read as it stands than guessed at.
            return Pronounced(" ".join(re.findall(r"[^\W_]+", mnemonics)), "")
        sound, spelling = _PHONEMES[rest[:length]]
        ipa.append(sound)
        letters.append(spelling)
        rest = rest[length:]
    words = " ".join("".join(letters).split()).title()
    return Pronounced(words, "".join(_stressed_syllables(ipa)).strip() if words else "")


def _stressed_syllables(sounds: list[str]) -> list[str]:
    """Stress marks moved from the vowel, where eSpeak has them, to the syllable: all consonants that begin a word, else one."""
    moved: list[str] = []
    for index, sound in enumerate(sounds):
        if sound not in _STRESS or not _is_vowel(sounds[index + 1 : index + 2]):
            moved.append(sound)
            continue
        consonants = 0
        while consonants < len(moved) and not _is_vowel(moved[-1 - consonants :][:1]) and moved[-1 - consonants].strip():
            consonants += 1
        begins_word = consonants == len(moved) or not moved[-1 - consonants].strip()
        moved.insert(len(moved) - (consonants if begins_word else min(consonants, 1)), sound)
    return moved


def _is_vowel(sound: list[str]) -> bool:
    return bool(sound) and sound[0][:1] in _VOWELS and bool(sound[0])
