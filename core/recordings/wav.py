"""Recordings as a sound file for people: stereo, 16 bits, 8 kHz; the contact left, orch right."""

from __future__ import annotations

import os
import secrets
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidInput, NotFound
from core.recordings.recorder import TRACKS
from core.recordings.sealed_file import open_sealed
from core.recordings.vault import Vault
from core.speech import mulaw
from core.speech.base import SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Part:
    """One recording. `finished` says that its writer closed it, so that a missing end is damage and not a crash."""

    path: Path
    context: bytes
    finished: bool = False


def export_wav(parts: Sequence[Part], vault: Vault, target: Path, *, overwrite: bool) -> float:
    """Write `parts`, one after the other, to `target`, readable by its owner only. Returns the seconds written.

    `target` is the whole file or is not touched. A part that a crash cut is written as far as it goes.
    Raises InvalidInput when the target cannot be written, or exists and `overwrite` is False; NotFound when a part's file
    is gone; CannotOpenError when one was changed.
    """
    draft = target.parent / f".orch-export-{secrets.token_hex(4)}"
    try:
        _check(target, overwrite=overwrite)
        try:
            seconds = _write(parts, vault, draft)
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
    return seconds


def _check(target: Path, *, overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise InvalidInput(f"there is no folder {target.parent}; create it, or choose another")
    if target.is_dir():
        raise InvalidInput(f"{target} is a folder; give the name of a file")
    if target.exists() and not overwrite:
        raise FileExistsError(target)


def _write(parts: Sequence[Part], vault: Vault, draft: Path) -> float:
    samples = 0
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        with wave.open(file, "wb") as wav:
            wav.setnchannels(TRACKS)
            wav.setsampwidth(2)
            wav.setframerate(SAMPLE_RATE)
            for part in parts:
                samples += _append(part, vault, wav)
        file.flush()
        os.fsync(file.fileno())
    return samples / SAMPLE_RATE


def _append(part: Part, vault: Vault, wav: wave.Wave_write) -> int:
    try:
        sealed = open_sealed(part.path, vault, part.context, finished=part.finished)
    except OSError as error:
        raise NotFound(f"cannot read the recording {part.path} ({error.strerror}); restore it from a backup") from None
    samples = 0
    with sealed:
        for chunk in sealed:
            wav.writeframesraw(mulaw.decode(chunk))
            samples += len(chunk) // TRACKS
    return samples
