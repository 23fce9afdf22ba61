"""One worker's process, seen from the supervisor: started in its own group, heard through a pipe, reaped with its children."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.logs import LineFile
from workers.child import Exit
from workers.process import Arguments
from workers.roster import WorkerSpec

CHECKOUT = Path(__file__).resolve().parent.parent
LAST_LINES = 5
_BEAT_LIMIT = 256 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """Raises OSError when it cannot be started. Start it from the main thread: PDEATHSIG follows the parent thread."""

    def __init__(self, spec: WorkerSpec, home: Path, listener: socket.socket | None, out_limit_bytes: int) -> None:
        read, write = os.pipe()
        passed = [write]
        if listener is not None:
            passed.append(listener.fileno())
        arguments = Arguments(
            heartbeat_fd=write,
            listen_fd=listener.fileno() if listener is not None else None,
            parent_pid=os.getpid(),
            drain_seconds=spec.drain_seconds,
        )
        self._out = home / "logs" / f"{spec.name}.out"
        try:
            # Not through us: a supervisor that dies must not break its workers' stdout.
            with open_output(self._out, out_limit_bytes) as out:
                # Where in NAME.out its own output begins.
                self.output_at: int = out.tell()
                self._popen = subprocess.Popen(
                    [*spec.argv(), *arguments.as_options()],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    cwd=CHECKOUT,
                    pass_fds=passed,
                    # Its own group: Ctrl-C in a terminal does not reach it, and its children can be swept with it.
                    process_group=0,
                )
            self.pid = self._popen.pid
            self.pidfd = self._pidfd()
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        self.pipe = read
        self.pipe_open = True
        self.last_beat: dict[str, Any] = {}
        self._buffer = b""
        os.set_blocking(read, False)

    def _pidfd(self) -> int:
        try:
            return os.pidfd_open(self.pid)
        except OSError:
            # Out of descriptors: a worker that nobody watches must not live.
            self._popen.kill()
            self._popen.wait()
            raise

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def read_beats(self) -> tuple[list[dict[str, Any]], bool]:
        """Complete heartbeats received since the last look, and whether the pipe was closed."""
        try:
            data = os.read(self.pipe, 65536)
        except BlockingIOError:
            return [], False
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        if len(self._buffer) > _BEAT_LIMIT:
            self._buffer = b""
        return list(_parsed(lines)), not data

    def reap(self) -> Exit:
        """Collect the ended process. What it left in its group is killed first, while its number cannot be another's."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        end = Exit.of(self._popen.wait())
        os.close(self.pidfd)
        os.close(self.pipe)
        return end

    def last_output(self) -> list[str]:
        """The last lines it wrote to stdout or stderr since it was started."""
        with contextlib.suppress(OSError), self._out.open("rb") as out:
            size = out.seek(0, os.SEEK_END)
            out.seek(max(self.output_at, size - 8192))
            return out.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        return []

    def memory_bytes(self) -> int:
        """Resident memory of the process and its descendants."""
        return sum(_resident(pid) for pid in _family(self.pid))

    def cpu_seconds(self) -> float:
        """Processor time that the process and its descendants have used since they were started."""
        return round(sum(_processor_seconds(pid) for pid in _family(self.pid)), 2)


def _processor_seconds(pid: int) -> float:
    """User and system time, with that of children that have ended: fields 14 to 17 of proc_pid_stat(5)."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS
    return 0.0


def _parsed(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        with contextlib.suppress(ValueError):
            beat = json.loads(line)
            if isinstance(beat, dict):
                yield beat


def open_output(path: Path, limit_bytes: int) -> Any:
    """A file for stdout and stderr, appended to; begun anew when it has grown over the limit."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > limit_bytes:
            path.replace(path.with_name(path.name + ".1"))
    out = path.open("ab")
    out.seek(0, os.SEEK_END)
    return out


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from _family(int(child))


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    return 0


class _JsonLines(logging.Formatter):
    """The same lines as core/logs.py writes, without structlog: the supervisor stays small."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "ts": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z",
            "level": record.levelname.lower(),
            "worker": self._worker,
            "event": record.getMessage(),
            **getattr(record, "keys", {}),
        }
        if hasattr(record, "lines"):
            line["lines"] = record.lines
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def json_log(worker: str, log_dir: Path, level: str, max_bytes: int) -> logging.Logger:
    """A logger that writes JSON lines to `log_dir/WORKER.log`, by the standard library alone."""
    handler = LineFile(log_dir / f"{worker}.log", max_bytes)
    handler.setFormatter(_JsonLines(worker))
    log = logging.getLogger(f"orch.{worker}")
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(level.upper())
    # As in core/logs.py.
    logging.raiseExceptions = False
    return log
