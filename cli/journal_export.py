"""The journal as one document: Markdown for people, JSON or JSON lines for programs. Written entry by entry, whatever its length."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from cli.show import local, plain
from core.errors import InvalidInput
from core.storage.journal import JournalView

FORMATS = ("markdown", "json", "jsonl")
_BY_SUFFIX = {".md": "markdown", ".markdown": "markdown", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
# What Markdown, and the HTML it allows, would take for more than text.
_MARKS = re.compile(r"([\\`*_\[\]<>#|~])")


def chosen_format(wanted: str | None, target: Path) -> str:
    """The format asked for, else the one that the file's name ends with, else Markdown. Raises InvalidInput."""
    if wanted is None:
        return _BY_SUFFIX.get(target.suffix.lower(), "markdown")
    if wanted not in FORMATS:
        raise InvalidInput(f"--format {wanted!r} is not known; it must be {', '.join(FORMATS)}")
    return wanted


def rendered(entries: Iterable[JournalView], form: str, exported_at: datetime) -> Iterator[str]:
    """The document in pieces. Entries are read only as the pieces are taken."""
    if form == "jsonl":
        yield from (f"{_as_json(plain(entry))}\n" for entry in entries)
    elif form == "json":
        yield f'{{"exported_at": {_as_json(exported_at.isoformat())}, "entries": ['
        between = "\n"
        for entry in entries:
            yield f"{between}{_as_json(plain(entry))}"
            between = ",\n"
        yield "\n]}\n"
    else:
        yield "# Journal\n"
        yield from (_section(entry) for entry in entries)


def write(pieces: Iterable[str], target: Path, *, overwrite: bool) -> None:
    """Write to `target`, readable by its owner only, wholly or not at all; `-` is stdout.

    Raises InvalidInput when the file exists and `overwrite` is False, or cannot be written.
    """
    if str(target) == "-":
        for piece in pieces:
            sys.stdout.write(piece)
        return
    if target.is_dir():
        raise InvalidInput(f"{target} is a folder; give the name of a file")
    if not target.parent.is_dir():
        raise InvalidInput(f"there is no folder {target.parent}; create it, or choose another")
    if target.exists() and not overwrite:
        raise InvalidInput(f"{target} exists; choose another name, or replace it with --force")
    draft = target.parent / f".orch-export-{secrets.token_hex(4)}"
    try:
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            if not overwrite:
                # A rename would replace what appeared meanwhile, and not every file system has links.
                target.touch(mode=0o600, exist_ok=False)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except FileExistsError:
        raise InvalidInput(f"{target} exists; choose another name, or replace it with --force") from None
    except OSError as error:
        raise InvalidInput(f"cannot write {target}: {error.strerror or error}") from error


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _section(entry: JournalView) -> str:
    body = entry.body
    state = "Complete" if body["complete"] else "Not complete"
    lines = [
        "",
        f"## {_text(entry.contact_name)}, {local(entry.created_at, entry.timezone)}",
        "",
        f"{_text(body['title'])}. {state} (ended by: {_text(body['ended_by'] or 'unknown')}). Call {entry.scheduled_call_id[:8]}.",
        "",
        "### Answers",
        "",
    ]
    for answer in body["answers"]:
        mark = "" if answer["complete"] else " (not complete)"
        lines.append(f"- **{_text(answer['prompt'] or answer['checkpoint'])}** {_text(answer['answer'] or 'no answer')}{mark}")
    lines += ["", "### Transcript", ""]
    for turn in body["transcript"]:
        for speaker, words in ((entry.contact_name, turn["contact"]), ("orch", turn["orch"])):
            if words:
                lines.append(f"- {_text(speaker)}: {_text(words)}")
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """One line that Markdown takes for nothing but text."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))
