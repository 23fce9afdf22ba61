from __future__ import annotations

import re

import pytest

from core.domain.contacts import (
    NAME_LIMIT,
    PRONUNCIATION_LIMIT,
    REMARK_LIMIT,
    clean_name,
    clean_pronunciation,
    clean_remark,
    country_of,
    parse_phone,
)
from core.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "phone"),
    [
        ("+12025550123", "+12025550123"),
        ("  +1 (202) 555-0123 ", "+12025550123"),
        ("+1.202.555.0123", "+12025550123"),
        ("+1\u00a0202\u2011555\u20110123", "+12025550123"),
        ("+442079460018", "+442079460018"),
        ("+44 (0)20 7946 0018", "+442079460018"),
        ("+4915112345678", "+4915112345678"),
        ("+919876543210", "+919876543210"),
    ],
)
def test_a_number_is_stored_in_e164(text: str, phone: str) -> None:
    assert parse_phone(text, ("US", "GB", "DE", "IN")) == phone


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "must start with +"),
        ("2025550123", "must start with +"),
        ("0012025550123", "must start with +"),
        ("911", "must start with +"),
        ("tel:+12025550123", "must start with +"),
        ("1.20256E+10", "changed by a spreadsheet"),
        ("1,20256e10", "changed by a spreadsheet"),
        ("+1.20256E+10", "changed by a spreadsheet"),
        ("12025550123.0", "changed by a spreadsheet"),
        ("12025550123", "a spreadsheet drops the \\+"),
        ("+", "only digits"),
        ("+1-800-FLOWERS", "only digits"),
        ("+12025550123 x5", "only digits"),
        ("+1202555\u0660\u0661\u0662\u0663", "only digits"),
        ("+1202" + " " * 50 + "5550123", "only digits"),
        ("+911", "not a number of any country|too short"),
        ("+999123456789", "not a number of any country|no known country"),
        ("+1202555012", "too short"),
        ("+120255501234", "too long"),
        ("+5550123", "too short|without its area code|not in use"),
        ("+15555550123", "not in use"),
        ("+19005550123", "a premium-rate number"),
        ("+18005550199", "a toll-free number"),
        ("+15005550006", "a personal"),
        ("+447012345678", "a personal"),
        ("+80012345678", "a toll-free number"),
        ("+88213300655", "no country"),
    ],
)
def test_a_number_nobody_should_dial_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint) as caught:
        parse_phone(text, ("US", "GB"))
    # The text may reach a log or a verdict: the number may not.
    assert not re.search(r"[0-9]{4,}", str(caught.value).replace("+12025550123", ""))


@pytest.mark.parametrize(
    ("text", "country"),
    [("+442079460018", "GB"), ("+12423591234", "BS"), ("+14165550123", "CA"), ("+77012345678", "KZ")],
)
def test_a_country_that_is_not_allowed_is_named_with_the_setting(text: str, country: str) -> None:
    with pytest.raises(InvalidInput, match=f"belongs to {country}, and ORCH_COUNTRIES allows DE, US"):
        parse_phone(text, ("us", "DE"))
    assert country_of(text) == country


def test_no_country_allowed_allows_no_number() -> None:
    with pytest.raises(InvalidInput, match="allows no country"):
        parse_phone("+12025550123", ())


def test_the_country_of_what_is_no_number_is_not_guessed() -> None:
    with pytest.raises(InvalidInput):
        country_of("+15555550123")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("  Ada   Lovelace ", "Ada Lovelace"),
        ("Zoe\u0308", "Zo\u00eb"),
        ("O'Brien-Smith, Jr.", "O'Brien-Smith, Jr."),
        ("李小龍", "李小龍"),
        ("\u0646\u06cc\u200c\u0646\u0627", "\u0646\u06cc\u200c\u0646\u0627"),  # a joiner is part of the spelling
        ("x" * NAME_LIMIT, "x" * NAME_LIMIT),
    ],
)
def test_a_name_is_kept_as_one_line(text: str, name: str) -> None:
    assert clean_name(text) == name


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        (" \u00a0 ", "empty"),
        ("12345", "no letter"),
        ("Ada\nLovelace", "control character .U.000A"),
        ("Ada\x00", "control character"),
        ("Ada\x1b[31m", "control character .U.001B"),
        ("\u202eadA", "control character .U.202E"),
        ("Ada\u2028Lovelace", "control character .U.2028"),
        ("x" * (NAME_LIMIT + 1), f"{NAME_LIMIT + 1} characters; at most {NAME_LIMIT}"),
    ],
)
def test_a_name_that_cannot_be_shown_or_spoken_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        clean_name(text)


def test_a_pronunciation_may_be_left_out() -> None:
    assert clean_pronunciation(None) is None
    assert clean_pronunciation("  ") is None
    assert clean_pronunciation(" AY-da ") == "AY-da"


@pytest.mark.parametrize("text", ["a\tb", "x" * (PRONUNCIATION_LIMIT + 1)])
def test_a_pronunciation_has_the_limits_of_a_line(text: str) -> None:
    with pytest.raises(InvalidInput, match="pronunciation"):
        clean_pronunciation(text)


def test_a_remark_is_one_line_or_nothing() -> None:
    assert clean_remark(None, "note") is None
    assert clean_remark("  ", "note") is None
    assert clean_remark(" on  holiday ", "note") == "on holiday"
    for wrong in ("a\x1b[2Jb", "a\u202eb", "x" * (REMARK_LIMIT + 1)):
        with pytest.raises(InvalidInput, match="note"):
            clean_remark(wrong, "note")
