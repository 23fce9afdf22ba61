"""What can be known to fail before any process is started."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from core.errors import OrchError
from workers.process import worker_lock
from workers.roster import Address, WorkerSpec


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
            raise PreflightFailed(f"cannot write to {folder}: {error.strerror or error}; see ORCH_HOME") from None
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()


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
                        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                        return f"pid {process.name} ({command[:120]})"
    return "a process of another user" if inodes else "another process"


def _listening_inodes(port: int) -> Iterable[str]:
    # proc_pid_net(5): local address as hex ADDRESS:PORT in column 2, state in column 4 (0A is LISTEN), inode in column 10.
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                    yield columns[9]
