"""Structured logs: one JSON line an event, one file a worker, and nothing personal in them.

structlog is imported on demand: it costs 0.15 s and 18 MB, and `mask_phone` is wanted where neither is welcome.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

BACKUPS = 5

# Numbers in exception texts and URLs, where no caller could have masked them.
_PHONE = re.compile(r"(\+|%2[Bb])([1-9]\d{7,14})(?!\d)")
_SECRET_KEYS = frozenset({"token", "auth_token", "authorization", "password", "secret", "api_key", "key", "signature", "cookie"})
# What a contact said, or what was said to them.
_SPEECH_KEYS = frozenset({"said", "heard", "reply", "text", "transcript", "prompt", "utterance", "answer", "digits", "body", "content"})
_LEADING_KEYS = ("ts", "level", "worker", "event")

# Libraries whose info lines repeat ours, or carry numbers and bodies (the Twilio SDK logs each request).
_QUIET = (
    "apscheduler",
    "asyncio",
    "google",
    "httpcore",
    "httpx",
    "sqlalchemy",
    "twilio",
    "urllib3",
    "uvicorn.access",
    "uvicorn.error",
    "websockets",
)


class LineFile(logging.Handler):
    """Whole lines, each written at once, to a file that one process writes; renamed to `.1`, `.2` ... when it is full.

    It never raises: work goes on when the disk is full. A line that did not fit is taken out again, so that no half of one is left
    for readers to stumble over, and how many were lost is the first thing written when there is room again. The standard library's
    handler keeps a part of such a line for later, and is dead for good when the disk is full in the moment of rotation.
    """

    def __init__(self, path: Path, max_bytes: int, backups: int = BACKUPS) -> None:
        """Raises OSError when the file cannot be opened."""
        super().__init__()
        self._path, self._max_bytes, self._backups = path, max_bytes, backups
        self._fd: int | None = None
        self._size = 0
        self._lost = 0
        self._open()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception:  # noqa: BLE001
            # As the standard library's handlers do: whatever is wrong with this line must not reach who wrote it.
            self.handleError(record)
            return
        if self._lost and self._write(self._loss()):
            self._lost = 0
        if self._lost or not self._write(line):
            self._lost += 1

    def close(self) -> None:
        self._close()
        super().close()

    def _write(self, line: bytes) -> bool:
        try:
            if self._fd is None:
                self._open()
            elif self._size and self._size + len(line) > self._max_bytes:
                self._rotate()
            if self._fd is None:
                return False  # the new file of a rotation could not be made
            written = os.write(self._fd, line)
        except OSError:
            # Opened anew for the next line: the disk may have come back as another one.
            self._close()
            return False
        if written < len(line):
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
            return False
        self._size += written
        return True

    def _loss(self) -> bytes:
        record = logging.LogRecord("orch", logging.WARNING, "", 0, "log.lines_lost", None, None)
        record.lines = self._lost
        return self.format(record).encode() + b"\n"

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size
        # Power was cut in the middle of a line.
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._size += os.write(self._fd, b"\n")

    def _rotate(self) -> None:
        # Where files cannot be renamed it grows on: better than losing what it is there for.
        with suppress(OSError):
            for number in range(self._backups - 1, 0, -1):
                with suppress(FileNotFoundError):
                    self._numbered(number).replace(self._numbered(number + 1))
            self._path.replace(self._numbered(1))
            self._close()
            self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def mask_phone(phone: str) -> str:
    """`+15551230123` as `+1555***0123`; shorter numbers keep less, so that something always stays hidden."""
    if len(phone) >= 12:
        return f"{phone[:5]}***{phone[-4:]}"
    if len(phone) >= 8:
        return f"{phone[:3]}***{phone[-2:]}"
    return "***"


def configure(worker: str, log_dir: Path, level: str, max_mb: int) -> None:
    """Send structlog and the standard library's logging to `log_dir/WORKER.log`, rotated at `max_mb` megabytes.

    One process writes one file. Raises OSError when the file cannot be opened.
    """
    import orjson

    structlog = _structlog()

    def name_worker(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["worker"] = worker
        return event

    def serialise(event: Mapping[str, Any], **_options: Any) -> str:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _stamp,
        name_worker,
        structlog.processors.format_exc_info,
        withhold_personal,
        _leading_keys_first,
    ]
    handler = LineFile(log_dir / f"{worker}.log", max_mb * 1024 * 1024)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=serialise),
            ],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # A line that cannot be formatted must not become a traceback on stderr.
    logging.raiseExceptions = False
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _structlog() -> Any:
    """structlog without rich, which it would load, 50 ms and 5 MB in each worker, to colour a console that no worker has."""
    if "structlog" not in sys.modules and "rich" not in sys.modules:
        # PEP 328's way of saying that a module is not there; structlog does without it.
        sys.modules["rich"] = None  # type: ignore[assignment]
        try:
            import structlog
        finally:
            del sys.modules["rich"]
    import structlog

    return structlog


def get_logger() -> BoundLogger:
    """The logger for events: `log.info("call.dialled", attempt=...)`. Event names are dotted; values go into keys."""
    structlog = _structlog()

    logger: BoundLogger = structlog.stdlib.get_logger("orch")
    return logger


def silence() -> None:
    """No log: for a command, whose answer has stdout to itself, and whose doings are in the database."""
    structlog = _structlog()

    def drop(_logger: Any, _method: str, _event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        raise structlog.DropEvent

    structlog.configure(processors=[drop])


def bind(**keys: object) -> AbstractContextManager[None]:
    """`with bind(call_id=...):` every line logged inside, by this task or thread, carries the keys."""

    @contextmanager
    def bound() -> Iterator[None]:
        import structlog

        with structlog.contextvars.bound_contextvars(**keys):
            yield

    return bound()


def withhold_personal(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The safety net under the rule that callers mask: secrets go, speech becomes its length, numbers are masked."""
    return {key: value if key in _LEADING_KEYS[:3] else _clean(key, value) for key, value in event.items()}


def _clean(key: str, value: Any) -> Any:
    if key in _SECRET_KEYS and value is not None:
        return "***"
    if isinstance(value, str):
        if key in _SPEECH_KEYS:
            return f"({len(value)} characters)"
        return _PHONE.sub(lambda found: mask_phone("+" + found[2]), value)
    if isinstance(value, Mapping):
        return {str(inner): _clean(str(inner), item) for inner, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(key, item) for item in value]
    return value


def _stamp(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["ts"] = timestamp(datetime.now(UTC))
    return event


def timestamp(now: datetime) -> str:
    """`2026-03-08T14:00:00.123Z`: sorts as text, which is how logs of several workers are merged."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z"


def _leading_keys_first(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # structlog's own bookkeeping (_record, _from_structlog) travels with the rest.
    ordered = {key: event[key] for key in _LEADING_KEYS if key in event}
    ordered.update((key, value) for key, value in event.items() if key not in ordered)
    return ordered
