"""The end of a command that went wrong: one line for the person, the rest where it can be found."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.render import error_line
from core import environment

# As the shell says it of a program that SIGPIPE ended.
READER_GONE = 141
LOG_NAME = "cli.log"
_LOG_LIMIT = 1024 * 1024


def usage_line(error: Any) -> str:
    """What click says in three lines. `error` is one of its exceptions, whose classes typer does not make public."""
    text = str(error.format_message()).strip().rstrip(".").replace("\n", " ")
    # Options and names that a sentence begins with stay as they are.
    text = text[:1].lower() + text[1:] if text[1:2].islower() else text
    context = getattr(error, "ctx", None)
    if context is None:
        return text
    return f"{text}{' See' if text.endswith('?') else '; see'} `{context.command_path} --help`"


def reader_gone() -> bool:
    """Whether nobody reads our stdout any more, as after `orch logs | head`. Then nothing more can be written there, either."""
    try:
        poll = select.poll()
        poll.register(sys.__stdout__.fileno() if sys.__stdout__ else 1, select.POLLOUT)
        gone = any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError):
        return False
    if gone:
        # What is still buffered would raise again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    return gone


def unexpected(error: BaseException, command: str) -> None:
    """A bug. Says so in one line; the traceback goes to logs/cli.log, or to stderr with ORCH_DEBUG=1."""
    import traceback

    from core.logs import withhold_personal

    lines = "".join(traceback.format_exception(error)).rstrip()
    event = withhold_personal(None, "", {"event": "command.failed", "command": command, "exception": lines})
    if environment.debugging():
        sys.stderr.write(f"{lines}\n")
    log = _append(event)
    told = str(withhold_personal(None, "", {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]})["error"])
    where = f"the traceback is in {log}" if log is not None else "ORCH_DEBUG=1 shows the traceback"
    error_line(f"this should not have happened: {told}; {where}")


def _append(event: Any) -> Path | None:
    from core.logs import timestamp

    file = environment.home_folder() / "logs" / LOG_NAME
    line = {"ts": timestamp(datetime.now(UTC)), "level": "error", "worker": "cli", **event}
    with contextlib.suppress(OSError):
        if file.exists() and file.stat().st_size > _LOG_LIMIT:
            file.replace(file.with_name(f"{LOG_NAME}.1"))
        with open(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "a", encoding="utf-8") as log:
            log.write(json.dumps(line, default=str) + "\n")
        return file
    return None
