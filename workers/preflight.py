"""What can be known to fail before any process is started."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from core.errors import OrchError
from workers.process import worker_lock
from workers.roster import Address, WorkerSpec

# A daemon that starts with less would stop working while its first calls are made.
LEAST_FREE_BYTES = 32 * 1024 * 1024
# Longer than any transaction of ours; a backup may hold the database this long, a forgotten shell for ever.
LOCK_SECONDS = 3.0
CONNECT_SECONDS = 5.0


class PreflightFailed(OrchError):
    """The daemon cannot start as things are; the text says what is in the way and who put it there."""


def bind(worker: str, address: Address) -> socket.socket:
    """The listening socket for a worker. Raises PreflightFailed that names who holds the port."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=512)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PreflightFailed(
                f"port {address.port} for {worker} is taken by {port_holder(address.port)}; end that, or choose another port in .env"
            ) from None
        if error.errno == errno.EACCES:
            raise PreflightFailed(f"port {address.port} for {worker} needs root; choose one above 1023 in .env") from None
        raise PreflightFailed(f"{worker} cannot listen on {address}: {error.strerror or error}; see ORCH_HOST in .env") from None


def check_ports(workers: Iterable[WorkerSpec]) -> None:
    """Raises PreflightFailed for the first port that cannot be bound."""
    for worker in workers:
        if worker.listen is not None:
            bind(worker.name, worker.listen).close()


def check_folders(folders: Iterable[Path]) -> None:
    """Create the folders, readable by this user alone. Raises PreflightFailed for one that cannot be written."""
    for folder in folders:
        probe = folder / f".write-test-{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe.write_bytes(b"x")
        except OSError as error:
            raise PreflightFailed(_cannot_write(folder, error)) from None
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()
        disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize
        if free < LEAST_FREE_BYTES:
            raise PreflightFailed(
                f"the disk of {folder} is full: {free // 1024**2} MB left, at least {LEAST_FREE_BYTES // 1024**2} are needed; free some"
            )


def check_logs(log_folder: Path, workers: Iterable[str]) -> None:
    """Raises PreflightFailed for a log that is there but cannot be written, such as one that root left."""
    for worker in workers:
        for path in (log_folder / f"{worker}.log", log_folder / f"{worker}.out"):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise PreflightFailed(_cannot_write(path, error)) from None


def _cannot_write(path: Path, error: OSError) -> str:
    hint = "free some space" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "see its owner and mode, and ORCH_HOME"
    return f"cannot write to {path}: {error.strerror or error}; {hint}"


def check_database(url: str) -> None:
    """Whether the database can be written now, told before SQLAlchemy is loaded. `url` is an SQLAlchemy URL.

    Raises PreflightFailed. What only the schema can tell (a newer program's, for one) is left to the migration.
    """
    if not url.startswith("sqlite:///"):
        _check_server(url)
        return
    path = Path(url.removeprefix("sqlite:///").partition("?")[0])
    check_folders((path.parent,))
    if not path.exists():
        return
    # Not above: the supervisor binds its ports with this module, and has no database.
    import sqlite3

    try:
        with contextlib.closing(sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise PreflightFailed(f"database {path} is locked by {lock_holder(path)}; end that, or wait until it is done") from None
        raise PreflightFailed(f"database {path} cannot be written: {error}; see its owner and mode") from None
    except sqlite3.DatabaseError as error:
        raise PreflightFailed(f"{path} is no database ({error}); put a backup in its place, or correct ORCH_DATABASE_URL") from None


def _check_server(url: str) -> None:
    server = urlsplit(url)
    if not server.hostname:
        return  # a socket in the file system, or a service name: the driver knows
    port = server.port or 5432
    try:
        socket.create_connection((unquote(server.hostname), port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise PreflightFailed(
            f"the database server {server.hostname}:{port} cannot be reached: {why}; start it, or correct ORCH_DATABASE_URL"
        ) from None


def lock_holder(path: Path) -> str:
    """Who holds a write lock on an SQLite database: `pid 123 (sqlite3 data/orch.db)`, as far as /proc lets this user see."""
    inodes = set()
    for part in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        with contextlib.suppress(OSError):
            inodes.add(str(part.stat().st_ino))
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            # proc_locks(5): number, kind, ADVISORY, READ or WRITE, pid, device:inode, range.
            fields = line.split()
            if len(fields) >= 6 and fields[3] == "WRITE" and fields[5].rpartition(":")[2] in inodes:
                return f"pid {fields[4]} ({_command_of(fields[4])})"
    return "another program"


def earlier_copies(run_folder: Path, workers: Iterable[WorkerSpec]) -> list[tuple[str, int]]:
    """Workers (name, pid) that still run although no supervisor does: they drain after it was killed."""
    found = []
    for worker in workers:
        pid = worker_lock(run_folder, worker.name).holder()
        if pid is not None:
            found.append((worker.name, pid))
    return found


def port_holder(port: int) -> str:
    """Who listens on a TCP port: `pid 123 (python -m http.server)`, as far as /proc lets this user see."""
    inodes = set(_listening_inodes(port))
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        # Processes of others are closed to us, and any may end while we look.
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) in wanted:
                        return f"pid {process.name} ({_command_of(process.name)})"
    return "a process of another user" if inodes else "another process"


def _command_of(pid: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:120]
    return "unknown command"


def _listening_inodes(port: int) -> Iterable[str]:
    # proc_pid_net(5): local address as hex ADDRESS:PORT in column 2, state in column 4 (0A is LISTEN), inode in column 10.
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                    yield columns[9]
