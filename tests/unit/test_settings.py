"""Settings: read from the environment and .env; a wrong one is told in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import CHECKOUT, load_settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    return tmp_path


def test_the_defaults_need_no_account(home: Path) -> None:
    settings = load_settings()
    assert settings.simulated
    assert settings.conversations.use_enhanced_calls
    assert settings.database_url == f"sqlite:///{home}/data/orch.db"
    assert settings.paths.plans_dir == CHECKOUT / "plans"
    assert settings.retries.waits() == (timedelta(minutes=30), timedelta(hours=24))
    assert settings.min_gap == timedelta(seconds=2)
    assert (settings.server.port, settings.server.media_port) == (8000, 8001)


def test_dotenv_is_read_and_the_environment_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_text("ORCH_PORT=9000\nMAX_RETRY_COUNT=1\nSOMETHING_ELSE=x\n")
    monkeypatch.setenv("MAX_RETRY_COUNT", "2")
    settings = load_settings()
    assert settings.server.port == 9000
    assert settings.retries.max_retry_count == 2


def test_relative_paths_start_at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_DATABASE_URL", "sqlite:///other/calls.db")
    monkeypatch.setenv("ORCH_PLANS_DIR", "my-plans")
    monkeypatch.chdir("/")
    settings = load_settings()
    assert settings.database_url == f"sqlite:///{home}/other/calls.db"
    assert settings.paths.plans_dir == home / "my-plans"


def test_a_relative_home_is_the_same_for_workers_started_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCH_HOME", "here")
    assert load_settings().paths.home == tmp_path / "here"
    assert os.environ["ORCH_HOME"] == str(tmp_path / "here")


def test_the_tree_is_frozen() -> None:
    settings = load_settings()
    with pytest.raises(AttributeError):
        settings.server = settings.server  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        settings.server.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ORCH_PORT", "abc", "a valid integer"),
        ("ORCH_PORT", "70000", "less than or equal to 65535"),
        ("RETRY_INTERVALS", "1,x", "positive numbers separated by commas"),
        ("RETRY_INTERVALS", "0", "positive numbers separated by commas"),
        ("RETRY_UNITS", "weeks", "seconds, minutes, hours, days"),
        ("ORCH_CARRIER", "pigeon", "'simulator', 'twilio' or 'vapi'"),
        ("ORCH_SPEECH", "mime", "'local' or 'google'"),
        ("USE_ENHANCED_CALLS", "perhaps", "a valid boolean"),
        ("ORCH_PUBLIC_URL", "example.com", "https://"),
        ("ORCH_PUBLIC_MEDIA_URL", "https://example.com", "wss://"),
        ("ORCH_DATABASE_URL", "mysql://x", "sqlite:///"),
        ("ORCH_LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("ORCH_RING_SECONDS", "5", "greater than or equal to 15"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    line = str(caught.value)
    assert line.startswith(f"{name}={value} ")
    assert told in line
    assert "\n" not in line


def test_secrets_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "hunter2")
    assert "hunter2" not in repr(load_settings().twilio)


def test_a_real_carrier_lists_everything_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_CARRIER", "twilio")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    for name in (
        "TWILIO_ACCOUNT_SID",
        "TWILIO_AUTH_TOKEN",
        "TWILIO_FROM_NUMBER",
        "ORCH_PUBLIC_URL",
        "ORCH_PUBLIC_MEDIA_URL",
        "ORCH_DIAL_ONLY",
    ):
        assert name in str(caught.value)


def test_ports_must_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_MEDIA_PORT", "8000")
    with pytest.raises(SettingsError, match="must differ"):
        load_settings()


def test_what_is_not_in_this_version_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_CARRIER", "vapi")
    with pytest.raises(SettingsError, match="not part of this version"):
        load_settings()


def test_the_examples_and_docs_list_every_setting() -> None:
    script = CHECKOUT / "scripts" / "settings_docs.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, cwd=CHECKOUT, env=os.environ)
    assert done.returncode == 0, done.stderr


def test_only_one_module_reads_the_environment() -> None:
    guilty = [
        str(path.relative_to(CHECKOUT))
        for folder in ("cli", "core", "workers")
        for path in (CHECKOUT / folder).rglob("*.py")
        if path != CHECKOUT / "core" / "environment.py" and any(word in path.read_text() for word in ("os.environ", "getenv("))
    ]
    assert guilty == []
