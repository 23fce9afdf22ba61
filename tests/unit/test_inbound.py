"""Who rings us, and what they want: pure judgement over what the carrier shows."""

from __future__ import annotations

import pytest

from core.calls.inbound import Answer, caller_number, meant
from core.domain import prompts


@pytest.mark.parametrize("shown", ["+12025550123", "12025550123", " +12025550123 ", "+442079460123", "+491701234567"])
def test_a_number_that_is_shown_is_known_in_one_spelling(shown: str) -> None:
    found = caller_number(shown)
    if shown.strip().startswith("+"):
        assert found == shown.strip()
    else:
        # Without its plus a number is some country's own spelling, and nobody says which country's.
        assert found is None


@pytest.mark.parametrize(
    "shown",
    [
        *("", " ", "anonymous", "Anonymous", "Restricted", "unavailable", "Private", "unknown"),
        *("+266696687", "+1266696687", "+7378742833", "+17378742833", "+2562533", "+8656696", "+86282452253", "+464"),
        *("client:ada", "sip:ada@example.com", "ada", "+", "++1", "+1", "+999", "+" + "9" * 400, "\x00", "+1 202 555 0123", "+1202555x123"),
    ],
)
def test_a_withheld_number_is_nobodys(shown: str) -> None:
    assert caller_number(shown) is None


@pytest.mark.parametrize(
    ("heard", "digits", "answer"),
    [
        ("", "", Answer.NOTHING),
        ("", "*", Answer.STOP),
        ("", "1*", Answer.STOP),
        ("", "1", Answer.NOTHING),
        ("Please stop calling me.", "", Answer.STOP),
        ("wrong number", "", Answer.STOP),
        ("take me off your list", "", Answer.STOP),
        ("Who is this?", "", Answer.AGAIN),
        ("Can you repeat that?", "", Answer.AGAIN),
        ("okay thanks", "", Answer.NOTHING),
        ("who is this? stop calling me", "", Answer.STOP),
    ],
)
def test_what_a_caller_means(heard: str, digits: str, answer: Answer) -> None:
    assert meant(heard, digits) is answer


@pytest.mark.parametrize("purpose", ["requested", "informational", "marketing", "something new"])
def test_a_caller_hears_who_why_and_how_to_stop(purpose: str) -> None:
    text = prompts.rang_you("Acme", "Medication check-in", purpose)
    assert text.startswith("Hello, this is Acme, an automated voice.")
    assert "Medication check-in" in text
    assert "press star" in text
    assert "  " not in text
