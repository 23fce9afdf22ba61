"""Contacts: which phone numbers may be stored and dialled at all, and how names are kept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat, PhoneNumberType, ValidationResult

from core.errors import InvalidInput

NAME_LIMIT = 100  # characters
PRONUNCIATION_LIMIT = 200  # characters
REMARK_LIMIT = 500  # characters

# A person answers these. Toll-free and shared-cost numbers are companies'; premium-rate and "personal" (follow-me) numbers
# bill whoever calls; pagers and voicemail access numbers have nobody to talk to.
_DIALLABLE = frozenset({PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE, PhoneNumberType.VOIP})
_TYPE_NAMES = {
    PhoneNumberType.TOLL_FREE: "a toll-free",
    PhoneNumberType.PREMIUM_RATE: "a premium-rate",
    PhoneNumberType.SHARED_COST: "a shared-cost",
    PhoneNumberType.PERSONAL_NUMBER: "a personal (follow-me, charged to the caller)",
    PhoneNumberType.PAGER: "a pager",
    PhoneNumberType.UAN: "a company-wide",
    PhoneNumberType.VOICEMAIL: "a voicemail-access",
}
_POSSIBILITIES = {
    ValidationResult.TOO_SHORT: "too short",
    ValidationResult.TOO_LONG: "too long",
    ValidationResult.INVALID_LENGTH: "of no length its country uses",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "without its area code",
    ValidationResult.INVALID_COUNTRY_CODE: "of no known country",
}
# 1.5551E+10, and 15551234567.0: numbers that a spreadsheet took for quantities. Half of the world writes decimals with a comma.
_SPREADSHEET_NUMBER = re.compile(r"\+?\d+(?:[.,]\d+)?[eE]\+?\d+|\d{5,}[.,]0+")
_ONLY_DIGITS = re.compile(r"[0-9][0-9 ().\u00a0\u2010\u2011-]{6,}")
# Zero-width joiners are part of how Persian and Indic names are written.
_JOINERS = "\u200c\u200d"


def parse_phone(text: str, countries: Collection[str]) -> str:
    """The number in E.164, if it is one that may be called; spaces, hyphens, dots and parentheses are taken out.

    Raises InvalidInput saying why not. The text never repeats the number: it may end up in a log or a verdict.
    """
    number = _parse(text)
    possible = phonenumbers.is_possible_number_with_reason(number)
    if possible != ValidationResult.IS_POSSIBLE:
        raise InvalidInput(f"phone number is {_POSSIBILITIES.get(possible, 'not possible')}; give it in full, such as +12025550123")
    if not phonenumbers.is_valid_number(number):
        raise InvalidInput("phone number is not in use in any country's numbering plan; check its digits")
    kind = phonenumbers.number_type(number)
    if kind not in _DIALLABLE:
        raise InvalidInput(
            f"phone number is {_TYPE_NAMES.get(kind, 'a special-service')} number; only fixed-line, mobile and VoIP numbers are called"
        )
    country = _country(number)
    allowed = sorted(name.upper() for name in countries)
    if country not in allowed:
        raise InvalidInput(f"phone number belongs to {country}, and ORCH_COUNTRIES allows {', '.join(allowed) or 'no country'}")
    return str(phonenumbers.format_number(number, PhoneNumberFormat.E164))


def country_of(phone: str) -> str:
    """ISO 3166 code of a number's country (numbers starting +1 belong to two dozen). Raises InvalidInput."""
    return _country(_parse(phone))


def clean_name(text: str) -> str:
    """A contact's name as it is stored: one line, single spaces. Raises InvalidInput."""
    name = _one_line(text, "name", NAME_LIMIT)
    if not any(character.isalpha() for character in name):
        raise InvalidInput("name has no letter in it; it is spoken in the greeting")
    return name


def clean_pronunciation(text: str | None) -> str | None:
    """How the name is spoken; None or blank: as it is written. Raises InvalidInput."""
    if text is None or not text.strip():
        return None
    return _one_line(text, "pronunciation", PRONUNCIATION_LIMIT)


def clean_remark(text: str | None, what: str) -> str | None:
    """A person's remark as it is stored: one line; None or blank: none. `what` names it in the error. Raises InvalidInput."""
    if text is None or not text.strip():
        return None
    return _one_line(text, what, REMARK_LIMIT)


def _parse(text: str) -> PhoneNumber:
    text = text.strip()
    if _SPREADSHEET_NUMBER.fullmatch(text):
        raise InvalidInput(
            "phone number was changed by a spreadsheet, and its last digits may be lost; "
            "format the column as text, and enter it again with its + (E.164)"
        )
    if _ONLY_DIGITS.fullmatch(text):
        raise InvalidInput(
            "phone number must start with + and its country code (E.164), such as +12025550123; "
            "a spreadsheet drops the + unless the column is formatted as text"
        )
    if not text.startswith("+"):
        raise InvalidInput("phone number must start with + and its country code (E.164), such as +12025550123")
    # The parser would also turn letters into keypad digits and take extensions, neither of which is a number to dial.
    if len(text) > 40 or re.fullmatch(r"\+[0-9 ().\u00a0\u2010\u2011-]+", text) is None:
        raise InvalidInput("phone number may hold only digits after its + (E.164), such as +12025550123")
    try:
        return phonenumbers.parse(text, None)
    except NumberParseException as error:
        raise InvalidInput("phone number is not a number of any country (E.164); it looks like +12025550123") from error


def _country(number: PhoneNumber) -> str:
    country = phonenumbers.region_code_for_number(number)
    if country is None or country == phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY:
        raise InvalidInput("phone number belongs to no country")
    return str(country)


def _one_line(text: str, what: str, limit: int) -> str:
    text = unicodedata.normalize("NFC", text).strip()
    for character in text:
        # Control, format (such as text-direction overrides), surrogate, private and unassigned characters, line separators.
        if character not in _JOINERS and (unicodedata.category(character)[0] == "C" or unicodedata.category(character) in {"Zl", "Zp"}):
            raise InvalidInput(f"{what} holds a control character (U+{ord(character):04X}); it must be one line of text")
    text = " ".join(text.split())
    if not text:
        raise InvalidInput(f"{what} is empty")
    if len(text) > limit:
        raise InvalidInput(f"{what} has {len(text)} characters; at most {limit} are allowed")
    return text
