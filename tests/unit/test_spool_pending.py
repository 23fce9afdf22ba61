"""Which calls may still have words on disk that SQL has not."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.conversation import spool
from core.conversation.spool import Entry, SpoolFile, SpoolHead
from core.recordings.vault import Vault
from core.storage.conversations import TurnRecord

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
ONE, TWO = "1" * 32, "2" * 32


def entry(*, opted_out: bool = False) -> Entry:
    return Entry(TurnRecord(0, "mood", "yes", "fine", NOW, {}), {}, None, opted_out, NOW)


def spooled(folder: Path, vault: Vault, attempt: str, epoch: int) -> SpoolFile:
    file = SpoolFile(folder, SpoolHead(attempt, epoch, "plan", "digest"), vault)
    file.append(entry())
    return file


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert spool.pending(tmp_path / "spool") == frozenset()


def test_attempts_are_named_once_and_no_longer_when_their_files_are_gone(tmp_path: Path, vault: Vault) -> None:
    files = [spooled(tmp_path, vault, ONE, 1), spooled(tmp_path, vault, ONE, 2), spooled(tmp_path, vault, TWO, 1)]
    assert spool.pending(tmp_path) == {ONE, TWO}
    files[0].delete()
    assert spool.pending(tmp_path) == {ONE, TWO}
    files[1].delete()
    assert spool.pending(tmp_path) == {TWO}
    # What no replay takes up is waited for no longer.
    files[2].set_aside(".kept")
    assert spool.pending(tmp_path) == frozenset()


def test_a_call_that_said_nothing_yet_has_nothing_pending(tmp_path: Path, vault: Vault) -> None:
    SpoolFile(tmp_path, SpoolHead(ONE, 1, "plan", "digest"), vault)
    (tmp_path / "spool.id").write_text("x")
    assert spool.pending(tmp_path) == frozenset()


def test_an_opt_out_reaches_the_disk_itself(tmp_path: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn survives our death in the kernel's memory; a wish not to be called survives the machine's."""
    synced: list[int] = []
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    file = spooled(tmp_path, vault, ONE, 1)
    assert synced == []
    file.append(entry(opted_out=True))
    assert synced == [file.path.stat().st_size]
    file.close()
