from __future__ import annotations

from pathlib import Path

import pytest
from twilio.request_validator import RequestValidator

from core.errors import InvalidInput
from core.telephony.signature import is_authentic, signature_of
from core.telephony.simulated import simulated_account

# Twilio's published example: docs/usage/security, "Validating signatures from Twilio".
TOKEN = "12345"
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
FIELDS = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Caller", "+14158675309"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
]
SIGNATURE = "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_the_published_example_is_authentic() -> None:
    assert is_authentic(TOKEN, URL, FIELDS, SIGNATURE)
    assert signature_of(TOKEN, URL, FIELDS) == SIGNATURE


@pytest.mark.parametrize(
    ("token", "url", "fields", "signature"),
    [
        ("12346", URL, FIELDS, SIGNATURE),
        (TOKEN, URL + "&baz=3", FIELDS, SIGNATURE),
        (TOKEN, URL.replace("https", "http"), FIELDS, SIGNATURE),
        (TOKEN, URL, FIELDS[1:], SIGNATURE),
        (TOKEN, URL, [*FIELDS, ("Extra", "1")], SIGNATURE),
        (TOKEN, URL, [*FIELDS[:2], ("Digits", "1235"), *FIELDS[3:]], SIGNATURE),
        (TOKEN, URL, FIELDS, SIGNATURE[:-2] + "9="),
        (TOKEN, URL, FIELDS, ""),
        (TOKEN, URL, FIELDS, None),
        (TOKEN, URL, FIELDS, "\u2603" * 28),
    ],
)
def test_anything_changed_is_not(token: str, url: str, fields: list[tuple[str, str]], signature: str | None) -> None:
    assert not is_authentic(token, url, fields, signature)


def test_repeated_and_empty_fields_count() -> None:
    fields = [("FromCity", ""), ("Event", "b"), ("Event", "a")]

    class Multi(dict[str, list[str]]):
        def getlist(self, name: str) -> list[str]:
            return self[name]

    expected = RequestValidator(TOKEN).compute_signature(URL, Multi({"FromCity": [""], "Event": ["b", "a"]}))

    assert is_authentic(TOKEN, URL, fields, expected)
    assert not is_authentic(TOKEN, URL, fields[:2], expected)


def test_the_simulators_account_is_made_once_and_kept_private(tmp_path: Path) -> None:
    keys = tmp_path / "keys"

    first, second = simulated_account(keys), simulated_account(keys)

    assert first == second
    assert first.auth_token != simulated_account(tmp_path / "others").auth_token
    (file,) = keys.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_damaged_token_is_named(tmp_path: Path) -> None:
    (tmp_path / "simulator_token").write_text("")

    with pytest.raises(InvalidInput, match="simulator_token"):
        simulated_account(tmp_path)
