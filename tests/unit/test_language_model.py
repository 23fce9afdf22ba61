"""The recogniser's model of a plan's hints, and what becomes of a doubtful transcript."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.speech.local.language_model import (
    arpa,
    dictionary_lines,
    digest,
    normalised,
    read_pronunciations,
    sentences,
    whole_hints,
    without_edges,
)

HINTS = ("i slept well", "stop calling me", "i did", "yes", "no")


def probabilities(model: str) -> dict[tuple[str, ...], tuple[float, float]]:
    """n-gram -> (probability, weight of backing off)."""
    table: dict[tuple[str, ...], tuple[float, float]] = {}
    size = 0
    for line in model.splitlines():
        if line.endswith("-grams:"):
            size = int(line[1])
        elif size and line and not line.startswith("\\"):
            first, *rest = line.split()
            table[tuple(rest[:size])] = (10 ** float(first), 10 ** float(rest[size]) if len(rest) > size else 1.0)
    return table


def chance(table: dict[tuple[str, ...], tuple[float, float]], *words: str) -> float:
    """Of the last word after those before it, as an ARPA reader computes it."""
    if words in table:
        return table[words][0]
    return table.get(words[:-1], (0.0, 1.0))[1] * chance(table, *words[1:])


def test_whatever_was_said_the_chances_of_the_next_word_add_up_to_one() -> None:
    table = probabilities(arpa(sentences(HINTS)))
    vocabulary = [words[0] for words in table if len(words) == 1 and words[0] != "<s>"]
    for before in [("<s>",), ("i",), ("<s>", "i"), ("i", "slept"), ("stop", "calling"), ("yes", "yes")]:
        assert sum(chance(table, *before, word) for word in vocabulary) == pytest.approx(1, abs=0.01)


def test_a_hints_own_words_follow_one_another_far_more_likely_than_others() -> None:
    table = probabilities(arpa(sentences(HINTS)))
    assert chance(table, "i", "slept", "well") > 1000 * chance(table, "i", "slept", "calling") > 0


def test_the_counts_at_the_top_are_those_of_the_sections() -> None:
    model = arpa(sentences(HINTS))
    table = probabilities(model)
    for size in (1, 2, 3):
        assert f"ngram {size}={sum(len(words) == size for words in table)}" in model.splitlines()


def test_a_model_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one word"):
        arpa([])


def test_hints_are_spelled_as_the_dictionary_does() -> None:
    assert normalised(["Don\u2019t call!", "don't  CALL", "42", "Yes"]) == ("don't call", "yes")


def test_other_hints_have_another_name() -> None:
    assert digest(("yes", "no")) != digest(("yes no",))
    assert digest(("yes", "no")) == digest(("yes", "no"))


def test_a_words_pronunciations_are_all_read_and_numbered(tmp_path: Path) -> None:
    dictionary = tmp_path / "words.dict"
    dictionary.write_text("a AH\na(2) EY\nabout AH B AW T\nyes Y EH S\n")
    found = read_pronunciations(dictionary, frozenset({"a", "yes", "orch"}))
    assert found == {"a": ["AH", "EY"], "yes": ["Y EH S"]}
    assert list(dictionary_lines(found)) == ["a AH", "a(2) EY", "yes Y EH S"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("i did stop calling me and", "stop calling me"),
        ("i slept well stop calling me", "i slept well stop calling me"),
        ("yes no calling", ""),
        ("slept well", ""),
        ("i did not", ""),
        ("", ""),
    ],
)
def test_of_a_doubtful_transcript_only_whole_hints_stay(text: str, kept: str) -> None:
    assert whole_hints(text, HINTS) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("and i slept well and", "i slept well"),
        ("yes i slept well", "yes i slept well"),
        ("well yes uh", "yes"),
        ("and uh", ""),
        ("i", ""),
        ("no and yes", "no and yes"),
    ],
)
def test_small_words_go_from_the_ends_but_not_out_of_a_hint(text: str, kept: str) -> None:
    assert without_edges(text, HINTS) == kept
