"""Where settings come from: the environment, the project's file, the user's file; and how such a file is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import environment
from core.environment import parse, read, unknown_names
from core.errors import SettingsError
from core.settings import described, load_settings, setting_names, without_password

FILE = Path("/somewhere/.env")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "home").mkdir()
    (tmp_path / "config" / "orch").mkdir(parents=True)
    return tmp_path / "home"


def write_user_file(home: Path, text: str) -> None:
    (home.parent / "config" / "orch" / "env").write_text(text)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("  A = 1  ", "1"),
        ("export A=1", "1"),
        ("a=1", "1"),
        ("A=1 # one", "1"),
        ("A=pass#word", "pass#word"),
        ("A=pa$$w${ORD}", "pa$$w${ORD}"),
        ('A="two words" # and a comment', "two words"),
        ("A='two # words'", "two # words"),
        (r'A="a\"b\nc"', 'a"b\nc'),
        (r"A='a\nb'", r"a\nb"),
        ("A=https://x/?q=1&r=2", "https://x/?q=1&r=2"),
        ("A=1\r", "1"),
    ],
)
def test_a_line_is_read_as_it_is_meant(line: str, value: str) -> None:
    found, wrong = parse(line, FILE)
    assert wrong == []
    assert found["A"].text == value


@pytest.mark.parametrize("line", ["", "# A=1", "   ", "A=", 'A=""', "A= # nothing"])
def test_what_gives_nothing(line: str) -> None:
    assert parse(line, FILE) == ({}, [])


@pytest.mark.parametrize("line", ["A", "A: 1", "1A=2", 'A="open', 'A="x" y', "-A=1"])
def test_what_is_no_setting_is_counted_by_its_line(line: str) -> None:
    found, wrong = parse(f"B=1\n{line}\nC=2", FILE)
    assert wrong == [2]
    assert sorted(found) == ["B", "C"]


def test_the_last_of_a_name_wins_and_its_line_is_known() -> None:
    found, _ = parse("\ufeffA=1\n\nA=2\n", FILE)
    assert (found["A"].text, found["A"].line, found["A"].origin) == ("2", 3, f"{FILE} line 3")


def test_a_value_is_not_in_its_repr() -> None:
    assert "hunter2" not in repr(parse("TWILIO_AUTH_TOKEN=hunter2", FILE))


def test_the_environment_wins_over_the_project_and_that_over_the_user(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_user_file(home, "ORCH_PORT=1001\nORCH_MEDIA_PORT=1002\nMAX_RETRY_COUNT=7\n")
    (home / ".env").write_text("ORCH_PORT=2001\nORCH_MEDIA_PORT=2002\n")
    monkeypatch.setenv("ORCH_PORT", "3001")
    settings = load_settings()
    assert (settings.server.port, settings.server.media_port, settings.retries.max_retry_count) == (3001, 2002, 7)
    origins = {name: (value.file and value.file.name, value.line) for name, value in read().items()}
    assert [origins[name] for name in ("ORCH_PORT", "ORCH_MEDIA_PORT", "MAX_RETRY_COUNT")] == [(None, None), (".env", 2), ("env", 3)]


def test_an_empty_value_leaves_the_next_place_its_say(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_text("ORCH_PORT=2001\n")
    monkeypatch.setenv("ORCH_PORT", "")
    assert load_settings().server.port == 2001


def test_small_letters_are_read_and_capitals_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("orch_port", "1234")
    assert load_settings().server.port == 1234
    monkeypatch.setenv("ORCH_PORT", "1235")
    assert load_settings().server.port == 1235


def test_the_users_file_may_say_where_home_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORCH_HOME")
    write_user_file(home, f"ORCH_HOME={home}\nthis is no setting\n")
    # Found even so: whoever wants to stop must be able to.
    assert environment.home_folder() == home
    with pytest.raises(SettingsError, match="env line 2 is not understood"):
        load_settings()


@pytest.mark.parametrize(("content", "told"), [(b"ORCH_PORT=8000\nwhat?\n", "line 2"), (b"A=\xff\xfe\n", "UTF-8")])
def test_a_file_that_is_not_understood_stops_with_one_line(home: Path, content: bytes, told: str) -> None:
    (home / ".env").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read()
    assert str(home / ".env") in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_value_says_in_which_line_it_stands(home: Path) -> None:
    (home / ".env").write_text("\nORCH_PORT=abc\n")
    with pytest.raises(SettingsError, match=r"^ORCH_PORT=abc .*\.env line 2\)$"):
        load_settings()


def test_names_that_are_no_settings_are_told_with_the_nearest(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_text("ORCH_DAIL_ONLY=+12025550123\nMAX_RETRY_COUTN=2\nPOSTGRES_PASSWORD=x\nORCH_PORT=8000\n")
    monkeypatch.setenv("ORCH_WHATEVER_THIS_IS", "1")
    monkeypatch.setenv("ORCH_DEBUG", "1")
    found = {each.name: each.nearest for each in unknown_names(read(), setting_names())}
    assert found == {"ORCH_DAIL_ONLY": "ORCH_DIAL_ONLY", "MAX_RETRY_COUTN": "MAX_RETRY_COUNT", "ORCH_WHATEVER_THIS_IS": None}
    told = str(unknown_names(read(), setting_names())[1])
    assert told == f"ORCH_DAIL_ONLY in {home / '.env'} line 1 is not a setting; did you mean ORCH_DIAL_ONLY?"


def test_described_settings_hide_secrets_and_passwords(home: Path) -> None:
    (home / ".env").write_text("TWILIO_AUTH_TOKEN=hunter2\nORCH_DATABASE_URL=postgresql://orch:hunter2@db/orch\n")
    shown = {each.name: each.text for each in described(read())}
    assert list(shown) == setting_names()
    assert shown["TWILIO_AUTH_TOKEN"] == "***"
    assert shown["ORCH_DATABASE_URL"] == "postgresql://***@db/orch"
    assert shown["ORCH_PORT"] == "8000"
    assert "hunter2" not in str(list(described(read())))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////srv/orch.db", "sqlite:////srv/orch.db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://user:se@cr:et@host/db", "postgresql://***@host/db"),
        ("postgresql://host/db?user=x&password=secret&sslmode=require", "postgresql://host/db?user=x&password=***&sslmode=require"),
    ],
)
def test_a_databases_password_is_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("variables", "wish"),
    [
        ({}, None),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, None),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        ({"FORCE_COLOR": "0"}, None),
        ({"TERM": "dumb"}, False),
    ],
)
def test_what_is_wished_about_colour(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wish: bool | None) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment.colour_wish() is wish
