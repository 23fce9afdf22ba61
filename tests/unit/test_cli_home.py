"""A check of the settings that passed is not made again until anything it looked at is different."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from cli.home import CHECKED_NAME, log_folder, remember_checked, run_folder, run_folder_anyway, was_checked
from core.environment import Value, read
from core.errors import SettingsError
from core.settings import setting_names

NAMES = ["ORCH_PORT", "TWILIO_AUTH_TOKEN"]
GIVEN = {"ORCH_PORT": Value("8000"), "TWILIO_AUTH_TOKEN": Value("hunter2-hunter2"), "PATH": Value("/bin")}


@pytest.fixture
def checked(tmp_path: Path) -> Path:
    file = tmp_path / CHECKED_NAME
    remember_checked(file, GIVEN, NAMES)
    return file


def test_the_same_settings_are_known_again(checked: Path) -> None:
    assert was_checked(checked, GIVEN)
    assert was_checked(checked, {**GIVEN, "PATH": Value("/usr/bin"), "EDITOR": Value("vi")}), "no setting of ours"
    assert was_checked(checked, {**GIVEN, "ORCH_PORT": Value("8000", Path("/x/.env"), 3)}), "the same value from another place"


@pytest.mark.parametrize(
    "given",
    [
        {**GIVEN, "ORCH_PORT": Value("8001")},
        {**GIVEN, "TWILIO_AUTH_TOKEN": Value("other")},
        {name: value for name, value in GIVEN.items() if name != "TWILIO_AUTH_TOKEN"},
        {},
    ],
)
def test_other_settings_are_checked(checked: Path, given: dict[str, Value]) -> None:
    assert not was_checked(checked, given)


def test_nothing_given_can_be_read_from_it_and_nobody_else_may_read_it(checked: Path) -> None:
    assert "hunter2" not in checked.read_text()
    assert "8000" not in checked.read_text()
    assert stat.S_IMODE(checked.stat().st_mode) == 0o600
    assert [path.name for path in checked.parent.iterdir()] == [CHECKED_NAME]


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"salt": "zz", "names": [], "digest": ""}', '{"salt": 1, "names": 2}', "\x00"]
)
def test_a_damaged_file_means_that_it_is_checked(checked: Path, content: str) -> None:
    checked.write_text(content)
    assert not was_checked(checked, GIVEN)


def test_where_nothing_can_be_written_every_command_checks(tmp_path: Path) -> None:
    missing = tmp_path / "not-there" / CHECKED_NAME
    remember_checked(missing, GIVEN, NAMES)
    assert not was_checked(missing, GIVEN)
    assert list(tmp_path.iterdir()) == [], "a command that only looks makes no folder"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    return tmp_path


def test_a_check_is_remembered_and_a_setting_that_became_wrong_is_still_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_folder() == home / "run"
    assert was_checked(home / "run" / CHECKED_NAME, read())
    assert json.loads((home / "run" / CHECKED_NAME).read_text())["names"] == setting_names()
    assert log_folder() == home / "logs"
    (home / ".env").write_text("MAX_RETRY_COUNT=lots\n")
    for _ in range(2):
        with pytest.raises(SettingsError, match="MAX_RETRY_COUNT=lots"):
            run_folder()
    (home / ".env").write_text("MAX_RETRY_COUNT=2\n")
    assert run_folder() == home / "run"
    monkeypatch.setenv("MAX_RETRY_COUNT", "-1")
    with pytest.raises(SettingsError, match="MAX_RETRY_COUNT=-1"):
        log_folder()


def test_stopping_goes_on_with_wrong_settings_and_says_so(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".env").write_text("MAX_RETRY_COUNT=lots\n")
    assert run_folder_anyway() == home / "run"
    assert "MAX_RETRY_COUNT=lots" in capsys.readouterr().err
