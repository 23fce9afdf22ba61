"""What the shell is offered, from the roster, the folders and the database; and nothing at all when something is wrong."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cli.completion import complete_call, complete_contact, complete_job, complete_level, complete_log, complete_plan, complete_worker
from core.storage import peek
from core.storage.schema import migrate


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    (tmp_path / "logs").mkdir()
    return tmp_path


@pytest.fixture
def people(home: Path) -> Path:
    """A database as the program makes it, with two contacts and a call."""
    migrate(f"sqlite:///{home / 'data' / 'orch.db'}")
    database = sqlite3.connect(home / "data" / "orch.db")
    with database:
        for number, name in enumerate(("Ada", "Mary Ann")):
            _insert(database, "contacts", id=f"{number}" * 32, name=name, phone=f"+1202555011{number}", timezone="America/New_York")
        _insert(database, "scheduled_calls", id="c" * 32, contact_id="0" * 32, state="completed")
    database.close()
    return home


def _insert(database: sqlite3.Connection, table: str, **values: str) -> None:
    """A row whose other mandatory columns hold what fits them."""
    for _, name, kind, mandatory, default, _ in database.execute(f"PRAGMA table_info({table})"):
        if mandatory and default is None and name not in values:
            values[name] = "2026-01-01 00:00:00" if "DATE" in kind else "0" if "CHAR" not in kind else name
    database.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", list(values.values()))


def test_workers_and_jobs_of_the_roster_when_nothing_runs(home: Path) -> None:
    assert complete_worker("w") == ["window-scheduler", "webhook-server"]
    assert complete_worker("x") == []
    assert complete_job("call_d") == ["call_dispatch"]
    (home / "logs" / "old-worker.log").touch()
    assert complete_log("s") == ["supervisor"]
    assert complete_log("old") == ["old-worker"]
    assert complete_level("w") == ["warning"]


def test_contacts_by_name_and_by_short_id(people: Path) -> None:
    assert complete_contact("A") == ["Ada"]
    assert complete_contact("M") == [], "a name of two words would be two arguments"
    assert complete_contact("1") == ["1" * 8]
    assert complete_call("c") == ["c" * 8]


def test_the_database_of_the_settings_is_asked(people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (people / "data" / "orch.db").rename(people / "data" / "other.db")
    assert complete_contact("A") == []
    (people / ".env").write_text("ORCH_DATABASE_URL=sqlite:///data/other.db\n")
    assert complete_contact("A") == ["Ada"]
    monkeypatch.setenv("ORCH_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert complete_contact("A") == [], "nobody waits for a server to complete a word"


def test_plans_by_their_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "my-plans").mkdir()
    for name in ("daily.yaml", "agents.yaml", "notes.txt"):
        (home / "my-plans" / name).touch()
    monkeypatch.setenv("ORCH_PLANS_DIR", "my-plans")
    assert complete_plan("") == ["daily"]
    monkeypatch.delenv("ORCH_PLANS_DIR")
    assert "daily-reflection" in complete_plan("daily")


def test_nothing_is_offered_and_nothing_raised_when_all_is_wrong(home: Path) -> None:
    (home / ".env").write_text("this is no setting\n")
    (home / "data").mkdir()
    (home / "data" / "orch.db").write_text("this is no database")
    assert [complete(part) for complete in (complete_contact, complete_call, complete_plan) for part in ("", "a")] == [[]] * 6


def test_a_locked_database_is_not_waited_for(people: Path) -> None:
    holder = sqlite3.connect(people / "data" / "orch.db", isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        assert peek.contacts(people / "data" / "orch.db", limit=5, seconds=0.01) == []
    finally:
        holder.close()
