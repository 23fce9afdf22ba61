"""Shared by all tests: a clean environment, and databases of both kinds.

Optional parts (PostgreSQL's server) are skipped where they are missing, unless `--require-all` says that they must be there.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from core.recordings.vault import Keyring, Vault
from core.storage.database import Database
from core.storage.schema import migrate

_GIVEN = dict(os.environ)
# Whatever the developer's shell or .env says must not reach a test.
for _name in list(os.environ):
    if _name.startswith(("ORCH_", "TWILIO_", "GOOGLE_", "GEMINI_", "RETRY_", "MAX_RETRY", "USE_", "ORCHESTRATOR_", "RECONCILIATION_")):
        del os.environ[_name]
# Nor what stands in the developer's own file, or is wished about colours.
os.environ["XDG_CONFIG_HOME"] = "/nonexistent"
for _name in ("NO_COLOR", "FORCE_COLOR"):
    os.environ.pop(_name, None)


# A shell that runs us in the background, or nohup, has these ignored, and every program that a test starts would inherit that.
# What is handled here is reset to its default in them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-all", action="store_true", help="fail where an optional part is missing, rather than skip")


@pytest.fixture(scope="session")
def given_environment() -> dict[str, str]:
    """The environment as the test run was given it, for tests that are told where something is."""
    return _GIVEN


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    keys = tmp_path_factory.mktemp("keys")
    Keyring.create(keys)
    return Vault(Keyring.load(keys))


@pytest.fixture(scope="session")
def postgresql_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own, as `postgresql+psycopg://user@host:port`."""
    programs = _postgresql_programs()
    if programs is None:
        if request.config.getoption("--require-all"):
            pytest.fail("PostgreSQL's server is not installed (Debian package: postgresql)")
        pytest.skip("PostgreSQL's server is not installed (Debian package: postgresql)")
    folder = Path(tmp_path_factory.mktemp("postgresql"))
    data = folder / "data"
    as_user: list[str] = []
    user = "orch"
    if os.getuid() == 0:
        # The server refuses to run as root.
        account = pwd.getpwnam("postgres")
        for part in (folder, *folder.parents):
            if part == Path(tempfile.gettempdir()):
                break
            part.chmod(part.stat().st_mode | 0o011)
        os.chown(folder, account.pw_uid, account.pw_gid)
        as_user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    subprocess.run(
        [*as_user, programs / "initdb", "-D", data, "-U", user, "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
        env=environment,
        cwd=folder,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=200"
    # `-l`: with the server's output on our pipes, waiting for pg_ctl would wait for the server.
    subprocess.run(
        [*as_user, programs / "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start"],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment,
        cwd=folder,
    )
    address = f"postgresql+psycopg://{user}@127.0.0.1:{port}"
    try:
        engine = create_engine(f"{address}/postgres")
        with engine.connect() as connection:
            # A taken port would connect us to somebody else's server without a word.
            assert Path(connection.execute(text("SHOW data_directory")).scalar_one()) == data
        engine.dispose()
        yield address
    finally:
        subprocess.run([*as_user, programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], check=False, capture_output=True, cwd=folder)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'orch.db'}"


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """A fresh database on our server."""
    name = f"t{uuid.uuid4().hex}"
    engine = create_engine(f"{postgresql_server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    # Not dropped: the whole server goes at the end, and dropping costs more than a test.
    return f"{postgresql_server}/{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Every query must run on both."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def database(database_url: str, vault: Vault) -> Iterator[Database]:
    migrate(database_url)
    opened = Database(database_url, vault)
    yield opened
    opened.close()


def _postgresql_programs() -> Path | None:
    if shutil.which("setpriv") is None and os.getuid() == 0:
        return None
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    installed = shutil.which("initdb")
    return Path(installed).parent if installed else None


@pytest.fixture
def sqlite_database(sqlite_url: str, vault: Vault) -> Iterator[Database]:
    """For what depends on the test's own clock: PostgreSQL measures leases by the server's."""
    migrate(sqlite_url)
    opened = Database(sqlite_url, vault)
    yield opened
    opened.close()
