"""Structured logs: one JSON line an event, one file a worker, and nothing personal in them.

structlog is imported on demand: it costs 0.15 s and 18 MB, and `mask_phone` is wanted where neither is welcome.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
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
    import structlog

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
    handler = RotatingFileHandler(log_dir / f"{worker}.log", maxBytes=max_mb * 1024 * 1024, backupCount=BACKUPS, encoding="utf-8")
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
    # A full disk must not turn every log line into a traceback on stderr, which is on the same disk.
    logging.raiseExceptions = False
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get_logger() -> BoundLogger:
    """The logger for events: `log.info("call.dialled", attempt=...)`. Event names are dotted; values go into keys."""
    import structlog

    logger: BoundLogger = structlog.stdlib.get_logger("orch")
    return logger


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
