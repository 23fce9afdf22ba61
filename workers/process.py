"""What a worker process owes its supervisor: to die with it, to exist once, and to say each second that it lives."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import gc
import json
import os
import resource
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import Conflict

# In run/: held by the supervisor as long as it lives.
LOCK_NAME = "orch.lock"
_PR_SET_PDEATHSIG = 1
# A beat that never gets through must not grow without end.
_MAX_UNSENT_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line of a worker. All are optional: a worker may be started by hand."""

    heartbeat_fd: int | None = None
    listen_fd: int | None = None
    parent_pid: int | None = None
    drain_seconds: float = 60.0

    @classmethod
    def parse(cls, argv: list[str]) -> Arguments:
        import argparse

        parser = argparse.ArgumentParser(description="A worker of orch; usually started by `orch start-all`.")
        parser.add_argument("--heartbeat-fd", type=int, metavar="FD", help="pipe to the supervisor")
        parser.add_argument("--listen-fd", type=int, metavar="FD", help="listening socket, already bound")
        parser.add_argument("--parent-pid", type=int, metavar="PID", help="end when this parent is gone")
        parser.add_argument("--drain-seconds", type=float, default=60.0, metavar="S", help="how long work in flight may take to finish")
        given = parser.parse_args(argv)
        return cls(given.heartbeat_fd, given.listen_fd, given.parent_pid, given.drain_seconds)

    def as_options(self) -> list[str]:
        options = [f"--drain-seconds={self.drain_seconds:g}"]
        for name, value in (("heartbeat-fd", self.heartbeat_fd), ("listen-fd", self.listen_fd), ("parent-pid", self.parent_pid)):
            if value is not None:
                options.append(f"--{name}={value}")
        return options


def die_with(parent_pid: int) -> bool:
    """Ask the kernel for SIGTERM when the parent dies (prctl(2), PR_SET_PDEATHSIG). False: it is dead already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    # It may have died between our start and the request; then no signal will come.
    return os.getppid() == parent_pid


def forbid_core_dumps() -> None:
    """A hung worker is ended by SIGABRT; its memory holds keys and speech, which must not land in a core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def settle_memory() -> None:
    """After the imports, before the work: give back what the start used up, and leave what it made out of later collections.

    A full collection over some hundred thousand objects that are there to stay is a tenth of a second in which no frame is sent.
    Not even one is worth its time here: of a start's objects, a handful are garbage.
    """
    gc.freeze()
    gc.enable()
    # Not in every C library; without it the memory is only given back later.
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class FileLock:
    """`flock` held until `release` or the end of the process; the pid inside is only information."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """False when another process holds it. Raises OSError when the file cannot be opened."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # `holder` takes the lock for a moment, which must not look like an owner.
        for pause in (0.01, 0.05, 0.1, None):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if pause is None or error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                    os.close(fd)
                    if pause is None:
                        return False
                    raise
                time.sleep(pause)
        # Information only: a full disk must not keep a worker from coming back.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd
        return True

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def holder(self) -> int | None:
        """Pid of the process that holds the lock, 0 if it did not say; None if nobody holds it."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except OSError:
            text = os.pread(fd, 32, 0).decode(errors="replace").strip()
            return int(text) if text.isdigit() else 0
        finally:
            os.close(fd)


def worker_lock(run_folder: Path, worker: str) -> FileLock:
    return FileLock(run_folder / f"{worker}.lock")


def take_worker_lock(run_folder: Path, worker: str) -> FileLock:
    """Raises Conflict when a copy of this worker runs: two schedulers could call one person twice."""
    lock = worker_lock(run_folder, worker)
    if not lock.acquire():
        raise Conflict(f"{worker} is already running as pid {lock.holder() or 'unknown'}; stop that one first")
    return lock


class HeartbeatPipe:
    """JSON lines to the supervisor. Never blocks: a supervisor that does not read must not stop a worker."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        os.set_inheritable(fd, False)
        self._fd = fd
        self._unsent = b""

    def send(self, beat: Mapping[str, object]) -> None:
        if len(self._unsent) < _MAX_UNSENT_BYTES:
            self._unsent += json.dumps(beat, default=str, separators=(",", ":")).encode() + b"\n"
        # Gone: the kernel has sent SIGTERM already. Full: the rest goes with the next beat.
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            sent = os.write(self._fd, self._unsent)
            self._unsent = self._unsent[sent:]
