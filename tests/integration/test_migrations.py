"""The schema: one order of revisions, applied once, by one process at a time, wholly or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from core.storage.database import DatabaseUnavailable
from core.storage.schema import MIGRATIONS, migrate
from core.storage.schema_version import is_known_current, newest_revision
from core.storage.tables import Base


def test_migrating_again_changes_nothing(database_url: str) -> None:
    assert migrate(database_url) is True
    assert migrate(database_url) is False


def test_the_revisions_make_the_tables_the_program_uses(database_url: str) -> None:
    migrate(database_url)
    engine = create_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": Base.metadata})
        assert compare_metadata(context, Base.metadata) == []
        indexes = {index["name"]: index for index in inspect(connection).get_indexes("attempts")}
        assert indexes["uq_attempts_open_phone"]["unique"]
    engine.dispose()


def test_a_database_of_a_newer_orch_is_refused_in_one_line(database_url: str) -> None:
    migrate(database_url)
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseUnavailable) as caught:
        migrate(database_url)
    assert "written by a newer orch (schema 9999)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unreachable_server_is_told_in_one_line_without_its_password() -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        migrate("postgresql+psycopg://orch:hunter2@127.0.0.1:1/orch?connect_timeout=2")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_processes_migrating_at_once_apply_each_revision_once(database_url: str) -> None:
    program = "import sys; from core.storage.schema import migrate; print(migrate(sys.argv[1]))"
    processes = [
        subprocess.Popen([sys.executable, "-c", program, database_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], told
    assert sorted(out.strip() for out, _ in told) == ["False", "False", "True"]


def test_a_migration_that_fails_half_way_leaves_nothing_behind(database_url: str) -> None:
    # A table in its way, such as somebody else's in a shared database.
    execute(database_url, "CREATE TABLE run_events (x INTEGER)")
    with pytest.raises(Exception, match="run_events"):
        migrate(database_url)
    engine = create_engine(database_url)
    assert inspect(engine).get_table_names() == ["run_events"]
    engine.dispose()
    execute(database_url, "DROP TABLE run_events")
    assert migrate(database_url) is True


def execute(url: str, statement: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_the_newest_revision_is_the_last_of_the_order() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert newest_revision() == scripts.get_current_head()


def test_whether_there_is_nothing_to_do_is_seen_without_opening_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'orch.db'}"
    assert not is_known_current(url)
    assert not (tmp_path / "orch.db").exists(), "looking makes no file"
    migrate(url)
    assert is_known_current(url)
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    assert not is_known_current(url)
    (tmp_path / "orch.db").write_text("no database")
    assert not is_known_current(url)
    assert not is_known_current("postgresql+psycopg://127.0.0.1/orch")
