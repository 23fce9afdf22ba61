"""What keeps a daemon from starting: each is one line that says what is wrong and what to do, exit code 5, and nothing is started."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workers.preflight import PreflightFailed, check_database, check_logs

CHECKOUT = Path(__file__).resolve().parents[3]


class Start:
    """Tries `orch start-all` and expects it to be refused."""

    def __init__(self, daemon: Any) -> None:
        self.daemon = daemon
        self.database = daemon.home / "data" / "orch.db"
        self.command = [sys.executable, "-m", "cli.main", "start-all", "--roster", str(daemon.write_roster(one=("steady",)))]

    def refused(self, *, limit: Any = None, **environment: str) -> str:
        """The one line it said."""
        ended = subprocess.run(
            self.command,
            cwd=CHECKOUT,
            env={**os.environ, "ORCH_HOME": str(self.daemon.home), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=limit,
        )
        assert ended.returncode == 5, ended.stdout + ended.stderr
        line = ended.stderr.splitlines()[-1]
        assert line.startswith("orch: ")
        assert "Traceback" not in ended.stderr
        assert self.daemon.alive_status() is None
        return line

    def migrate(self) -> None:
        subprocess.run(
            [sys.executable, "-m", "cli.main", "init"],
            cwd=CHECKOUT,
            env={**os.environ, "ORCH_HOME": str(self.daemon.home)},
            check=True,
            capture_output=True,
        )


@pytest.fixture
def start(daemon: Any) -> Start:
    return Start(daemon)


def test_a_database_that_somebody_holds_is_told_with_the_holder(start: Start) -> None:
    start.migrate()
    program = (
        f"import sqlite3; c = sqlite3.connect({str(start.database)!r}); c.execute('BEGIN IMMEDIATE'); print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with contextlib.closing(sqlite3.connect(start.database, timeout=0.0)) as other, pytest.raises(sqlite3.OperationalError):
            other.execute("BEGIN IMMEDIATE")
        line = start.refused()
        holder.kill()
    assert f"database {start.database} is locked by pid {holder.pid} (" in line
    assert "sqlite3" in line


def test_a_database_of_a_newer_orch(start: Start) -> None:
    start.migrate()
    with contextlib.closing(sqlite3.connect(start.database)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "was written by a newer orch (schema 9999)" in start.refused()


def test_a_file_that_is_no_database(start: Start) -> None:
    start.database.parent.mkdir(parents=True)
    start.database.write_text("this is not a database, it is a text that is long enough to be looked at " * 10)
    assert f"{start.database} is no database" in start.refused()


def test_a_database_server_that_is_not_there(start: Start, free_port: int) -> None:
    line = start.refused(ORCH_DATABASE_URL=f"postgresql://orch:hunter2@127.0.0.1:{free_port}/orch")
    assert f"the database server 127.0.0.1:{free_port} cannot be reached: Connection refused" in line
    assert "hunter2" not in line


def test_a_database_server_that_says_no(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        # It takes the connection and hangs up: the driver's words are passed on, in one line.
        port = server.getsockname()[1]
        program = f"import socket; s = socket.socket(fileno={server.fileno()})\nwhile True: s.accept()[0].close()"
        with subprocess.Popen([sys.executable, "-c", program], pass_fds=[server.fileno()]) as hanging_up:
            line = start.refused(ORCH_DATABASE_URL=f"postgresql://orch:hunter2@127.0.0.1:{port}/orch")
            hanging_up.kill()
    assert "database postgresql+psycopg://orch:***@127.0.0.1" in line
    assert "hunter2" not in line


def test_a_log_that_cannot_be_written(start: Start) -> None:
    (start.daemon.logs / "one.log").mkdir()
    assert f"cannot write to {start.daemon.logs / 'one.log'}: Is a directory" in start.refused()


def test_a_log_folder_that_cannot_be_written(start: Start) -> None:
    start.daemon.logs.rmdir()
    start.daemon.logs.write_text("")
    assert f"cannot write to {start.daemon.logs}: File exists" in start.refused()


def test_a_disk_that_takes_nothing(start: Start) -> None:
    def no_bytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    assert "cannot write to" in start.refused(limit=no_bytes)


def test_a_disk_that_is_nearly_full(small_disk: Any, start: Start) -> None:
    assert f"the disk of {start.daemon.home} is full: 7 MB left, at least 32 are needed" in start.refused()


def test_a_disk_that_is_full(small_disk: Any, start: Start) -> None:
    small_disk.fill()
    line = start.refused()
    assert "No space left on device; free some space" in line


def test_a_fresh_start_has_nothing_to_complain_about(tmp_path: Path) -> None:
    check_logs(tmp_path, ["one"])
    check_database(f"sqlite:///{tmp_path / 'data' / 'orch.db'}")
    check_database("postgresql+psycopg:///orch?host=/var/run/postgresql")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_database_server_that_does_not_answer_is_not_waited_for_in_vain() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(PreflightFailed, match="cannot be reached"):
            check_database(f"postgresql+psycopg://127.0.0.1:{deaf.getsockname()[1]}/orch")
