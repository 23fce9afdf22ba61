"""One call with live audio, from its window to the journal."""

from __future__ import annotations

import re
import wave
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PHONE = "+12025550110"
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Story:
    """An installation in which one person was called once."""

    daemon: Any
    contact: str
    call: dict[str, Any]


@pytest.fixture(scope="module")
def story(install: Callable[..., Any]) -> Story:
    daemon = install().start()
    contact = daemon.contact("Ada Quick", PHONE, plan="talk", pronounce="AY-duh")
    daemon.open_window(contact)
    (call,) = daemon.until(lambda: daemon.calls_of(contact), "the window's call", 20)
    return Story(daemon, contact, daemon.until_over(call["id"]))


def test_the_window_makes_one_call_that_completes_the_plan(story: Story) -> None:
    assert story.call["state"] == "completed", story.call
    assert story.call["origin"] == "window"
    assert [(a["mode"], a["outcome"]) for a in story.call["attempts"]] == [("enhanced", "answered")]
    assert all(verdict["allowed"] for verdict in story.call["verdicts"])
    assert {"window", "permitted_hours", "do_not_call"} <= {verdict["rule"] for verdict in story.call["verdicts"]}


def test_the_network_carried_one_call_over_a_media_stream(story: Story) -> None:
    (carried,) = story.daemon.carried(PHONE)
    assert carried.sid == story.call["attempts"][0]["carrier_call_id"]
    assert carried.status == "completed"
    ledger = story.daemon.ledger()
    try:
        said = [event.detail for event in ledger.events(carried.sid, "said")]
        assert len(said) >= 2, said
        # Silence from us would have left the callee waiting: he speaks when spoken to.
        assert ledger.events(carried.sid, "stream")
        assert ledger.events(carried.sid, "mark")
        assert ledger.warnings(carried.sid) == []
        hooks = [event.detail for event in ledger.events(carried.sid, "webhook")]
        assert all(200 <= hook["status"] < 300 for hook in hooks), hooks
    finally:
        ledger.close()


def test_the_log_tells_the_story_in_order(story: Story, in_order: Callable[..., bool]) -> None:
    wanted = ["window.opened", "call.scheduled", "call.pending_found", "call.dialled", "call.settled"]
    lines = story.daemon.logged(*wanted)
    seen = [line["event"] for line in lines]
    assert in_order(wanted, seen), seen
    assert [line["ts"] for line in lines] == sorted(line["ts"] for line in lines)
    (dialled,) = (line for line in lines if line["event"] == "call.dialled")
    assert dialled["to"] == "+1202***0110"
    assert dialled["call"] == story.call["id"]
    (settled,) = (line for line in lines if line["event"] == "call.settled")
    assert settled["outcome"] == "answered"


def test_the_journal_holds_the_answers(story: Story) -> None:
    entry = story.daemon.journal(story.call["id"])
    assert entry["complete"] is True
    answers = {answer["checkpoint"]: answer for answer in entry["body"]["answers"]}
    assert answers["mood"]["complete"]
    assert "good" in answers["mood"]["answer"]
    assert answers["again"]["complete"]
    transcript = entry["body"]["transcript"]
    # The name is spoken as it is pronounced, and written as it is spelled elsewhere.
    assert "AY-duh" in transcript[0]["orch"]
    assert "Goodbye" in transcript[-1]["orch"]
    assert "Ada Quick" in story.daemon.done("journal", "list")


def test_the_recording_is_sealed_and_has_both_voices(story: Story, tmp_path: Path) -> None:
    sealed = [path for path in (story.daemon.home / "data" / "recordings").rglob("*") if path.is_file()]
    assert len(sealed) == 1
    content = sealed[0].read_bytes()
    assert b"RIFF" not in content
    assert b"WAVE" not in content
    # Sound at rest is full of repeated bytes; what is sealed has none that stand out.
    assert max(content.count(byte) for byte in range(256)) < len(content) / 128
    out = tmp_path / "call.wav"
    story.daemon.done("recording", "export", story.call["id"], str(out))
    with wave.open(str(out)) as sound:
        assert (sound.getnchannels(), sound.getframerate(), sound.getsampwidth()) == (2, 8000, 2)
        seconds = sound.getnframes() / 8000
        samples = array("h", sound.readframes(sound.getnframes()))
    (carried,) = story.daemon.carried(PHONE)
    connected = (carried.ended_at - carried.answered_at).total_seconds()
    assert connected - 2.5 < seconds < connected + 1
    contact, orch = _loud_seconds(samples[0::2]), _loud_seconds(samples[1::2])
    assert 0.5 < contact < seconds / 2
    assert 2 < orch < seconds
    refused = story.daemon.orch("recording", "export", story.call["id"], str(out))
    assert refused.returncode == 2
    assert "--force" in refused.stderr


def test_nothing_said_or_dialled_is_readable_in_logs_or_data(story: Story) -> None:
    secret = [b"pretty good", b"yes please", b"How are you today", b"Hello AY-duh"]
    for path in (story.daemon.home / "logs").iterdir():
        text = path.read_bytes()
        for words in (*secret, b"Ada Quick", PHONE.encode(), PHONE[1:].encode()):
            assert words not in text, f"{words!r} is in {path.name}"
    # The simulator's own ledger is the outside world: the callee's words are written there, as they are in the air.
    for path in (story.daemon.home / "data").rglob("*"):
        if path.is_file() and not path.name.startswith("phone_network"):
            text = path.read_bytes()
            for words in secret:
                assert words not in text, f"{words!r} is in {path.name}"


def test_what_is_kept_is_this_users_alone(story: Story) -> None:
    for folder in ("data", "keys", "logs", "run"):
        for path in (story.daemon.home / folder, *(story.daemon.home / folder).rglob("*")):
            assert path.stat().st_mode & 0o077 == 0, f"{path} can be read by others"


def test_a_second_window_of_the_day_does_not_call_again_and_the_first_is_used_up(story: Story) -> None:
    (window,) = story.daemon.json("window", "list", story.contact) or [{"next_opens_at": None}]
    assert window["next_opens_at"] is None
    assert len(story.daemon.calls_of(story.contact)) == 1


def test_the_database_stores_no_plain_transcript_column(story: Story) -> None:
    """Every value of every table, as the file holds it: a new column must not bring the words back in the clear."""
    tables = [name for (name,) in story.daemon.sql("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert {"turns", "journal_entries"} <= set(tables)
    for table in tables:
        for row in story.daemon.sql(f"SELECT * FROM {table}"):
            text = " ".join(value if isinstance(value, str) else "" for value in row)
            assert not re.search(r"pretty good|yes please|How are you today", text), f"{table} holds spoken words"


def _loud_seconds(samples: array[int]) -> float:
    """How much of it is sound, by tenths of a second."""
    tenth = 800
    loud = sum(max(map(abs, samples[at : at + tenth])) > 500 for at in range(0, len(samples) - tenth, tenth))
    return loud / 10
