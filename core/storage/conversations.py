"""Reflection sessions: one conversation an answered attempt, its turns, and the sound recorded of it.

A media stream is known by its epoch: only the newest stream of an attempt may save.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from core.domain.calls import AttemptStatus
from core.errors import NotFound
from core.storage.attempts import lock_attempt
from core.storage.database import Database, insert_or_ignore, new_id, upsert
from core.storage.numbers import is_suppressed, suppress
from core.storage.problems import report
from core.storage.runs import LATE_WORDS, add_signal, revive, wake_run
from core.storage.tables import Attempt, Contact, Conversation, Recording, Run, ScheduledCall, Spool, Turn


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a live call needs to know. `state` and `conversation_id` are set when an earlier stream began it."""

    attempt_id: str
    scheduled_call_id: str
    contact_id: str
    contact_name: str
    pronunciation: str | None
    phone: str
    plan: str
    mode: str
    carrier_call_id: str | None
    status: str
    dial_until: datetime
    unwanted: bool  # asked not to be called, paused, or the call was cancelled, since it was dialled
    answered: bool  # our voice webhook was served, or the note of it is on its way
    answered_by: str | None
    stream_epoch: int
    conversation_id: str | None
    conversation_state: str | None
    state: dict[str, Any] | None
    next_turn: int
    dialled_at: datetime


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """One turn to be kept: what the contact said (None for the greeting) and what was replied."""

    ordinal: int
    checkpoint: str | None
    said: str | None
    reply: str | None
    at: datetime
    timings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordingPart:
    epoch: int
    path: str
    sealed: bool
    seconds: float | None
    missing_seconds: float | None  # sound that the disk did not take


class ConversationStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    def context(self, attempt_id: str) -> CallContext | None:
        """Read-only: the voice webhook answers from this alone."""
        with self._database.read() as session:
            row = session.execute(
                select(Attempt, ScheduledCall, Contact)
                .join(ScheduledCall, ScheduledCall.id == Attempt.scheduled_call_id)
                .join(Contact, Contact.id == Attempt.contact_id)
                .where(Attempt.id == attempt_id)
            ).first()
            if row is None:
                return None
            attempt, call, contact = row
            suppressed = is_suppressed(session, attempt.phone)
            conversation = session.scalars(select(Conversation).where(Conversation.attempt_id == attempt_id)).first()
            next_turn = 0
            if conversation is not None:
                last = session.scalar(select(func.max(Turn.ordinal)).where(Turn.conversation_id == conversation.id))
                next_turn = 0 if last is None else last + 1
        state = None
        if conversation is not None:
            state = self._database.open_json(conversation.state_sealed, _state_context(conversation.id))
        return CallContext(
            attempt_id=attempt.id,
            scheduled_call_id=call.id,
            contact_id=contact.id,
            contact_name=contact.name,
            pronunciation=contact.pronunciation,
            phone=attempt.phone,
            plan=call.plan,
            mode=attempt.mode,
            carrier_call_id=attempt.carrier_call_id,
            status=attempt.status,
            dial_until=attempt.dial_until,
            unwanted=suppressed or call.cancel_requested_at is not None or contact.paused_at is not None,
            answered=attempt.voice_served_at is not None,
            answered_by=attempt.answered_by,
            stream_epoch=attempt.stream_epoch,
            conversation_id=conversation.id if conversation else None,
            conversation_state=conversation.state if conversation else None,
            state=state,
            next_turn=next_turn,
            dialled_at=attempt.created_at,
        )

    def redeem_stream(self, attempt_id: str, carrier_call_id: str, epoch: int, spool: str, now: datetime) -> bool:
        """Use up a stream token: true once per epoch, and only for the attempt's own carrier call. `spool`: where its words go first."""
        with self._database.write() as session:
            attempt = session.get(Attempt, attempt_id, with_for_update=True)
            if attempt is None or attempt.stream_epoch != epoch - 1 or attempt.settled_at is not None:
                return False
            if attempt.carrier_call_id not in (None, carrier_call_id):
                return False
            attempt.stream_epoch = epoch
            attempt.stream_began_at = now
            attempt.spool = spool
            attempt.status = AttemptStatus.IN_PROGRESS
            # The stream can arrive before the create request's answer: both know the same call.
            attempt.carrier_call_id = carrier_call_id
            attempt.voice_served_at = attempt.voice_served_at or now
        return True

    def stream_saved(self, attempt_id: str, epoch: int, now: datetime) -> None:
        """The stream is over, and every word of it is in SQL."""
        with self._database.write() as session:
            attempt = lock_attempt(session, attempt_id)
            if attempt is None or attempt.stream_epoch != epoch:
                return
            attempt.epoch_saved = epoch
            attempt.stream_ended_at = now
            if attempt.ended_at is None:
                # The call may go on with nobody of ours on the line.
                wake_run(session, attempt.run_id, now)

    def spool_replayed(self, spool: str, now: datetime) -> None:
        """Everything that dead processes had left in this spool is in SQL, or set aside for a person to look at."""
        with self._database.write() as session:
            upsert(session, Spool, {"id": spool, "replayed_at": now}, "id", {"replayed_at": now})
            live = select(Attempt.run_id).where(Attempt.spool == spool, Attempt.status == AttemptStatus.IN_PROGRESS)
            held_back = Run.waiting_for == "permission:last_words"
            concerned = select(Run.id).where(or_(Run.id.in_(live), held_back)).order_by(Run.id).with_for_update()
            for run_id in session.scalars(concerned).all():
                wake_run(session, run_id, now)

    def document_fetched(self, attempt_id: str, mode: str, now: datetime) -> None:
        """The carrier asked how the live call goes on, and was told in this mode: somebody of ours is on the line, or about to be."""
        with self._database.write() as session:
            attempt = lock_attempt(session, attempt_id)
            if attempt is not None and attempt.ended_at is None:
                attempt.document_at = now
                attempt.mode = mode

    def spool_unusable(self, file: str, error: str, now: datetime) -> None:
        """Words that no replay can take over: a person has to look, for one of them may be a wish not to be called."""
        with self._database.write() as session:
            report(session, f"spool:{file}", "spool", f"what was said in a call cannot be read back from data/spool/{file}: {error}", now)

    def open(self, attempt_id: str, plan: str, plan_digest: str, channel: str, state: dict[str, Any], now: datetime) -> str:
        """The attempt's conversation, begun if there is none yet. Returns its id."""
        with self._database.write() as session:
            # Locked, so that two beginnings at once are one.
            attempt = session.get_one(Attempt, attempt_id, with_for_update=True)
            existing = session.scalars(select(Conversation.id).where(Conversation.attempt_id == attempt_id)).first()
            if existing is not None:
                return existing
            # Who talks has picked up, whether or not the note of the voice webhook reached us.
            attempt.voice_served_at = attempt.voice_served_at or now
            if attempt.ended_at is None:
                attempt.status = AttemptStatus.IN_PROGRESS
            conversation_id = new_id()
            session.add(
                Conversation(
                    id=conversation_id,
                    attempt_id=attempt_id,
                    scheduled_call_id=attempt.scheduled_call_id,
                    contact_id=attempt.contact_id,
                    plan=plan,
                    plan_digest=plan_digest,
                    channel=channel,
                    state="in_progress",
                    state_sealed=self._database.seal(state, _state_context(conversation_id)),
                    started_at=now,
                )
            )
        return conversation_id

    def save(
        self,
        conversation_id: str,
        epoch: int | None,
        turns: Sequence[TurnRecord],
        state: dict[str, Any],
        ended_by: str | None,
        now: datetime,
    ) -> bool:
        """Keep turns and state. False when a newer stream owns the call; saving a turn twice keeps the first."""
        with self._database.write() as session:
            return self.save_in(session, conversation_id, epoch, turns, state, ended_by, now)

    def save_in(
        self,
        session: Session,
        conversation_id: str,
        epoch: int | None,
        turns: Sequence[TurnRecord],
        state: dict[str, Any],
        ended_by: str | None,
        now: datetime,
    ) -> bool:
        # Its run may be woken below, and settlement locks the run before the conversation.
        attempt_id = session.scalar(select(Conversation.attempt_id).where(Conversation.id == conversation_id))
        attempt = lock_attempt(session, attempt_id) if attempt_id is not None else None
        conversation = session.get(Conversation, conversation_id, with_for_update=True)
        if conversation is None or attempt is None:
            raise NotFound(f"no conversation {conversation_id}")
        if epoch is not None and epoch != attempt.stream_epoch:
            return False
        for turn in turns:
            context = turn_context(conversation_id, turn.ordinal)
            insert_or_ignore(
                session,
                Turn,
                {
                    "conversation_id": conversation_id,
                    "ordinal": turn.ordinal,
                    "checkpoint": turn.checkpoint,
                    "said_sealed": self._database.seal(turn.said, context) if turn.said is not None else None,
                    "reply_sealed": self._database.seal(turn.reply, context) if turn.reply is not None else None,
                    "timings": turn.timings,
                    "at": turn.at,
                },
            )
        conversation.state_sealed = self._database.seal(state, _state_context(conversation_id))
        conversation.version += 1
        # "dropped" is settlement's guess, made when a media server died without a word: its word is better.
        if ended_by is not None and conversation.ended_by in (None, "dropped"):
            conversation.ended_by = ended_by
            conversation.ended_at = now
            conversation.state = "complete" if ended_by == "complete" else "abandoned"
            # The carrier's final status may be waiting for these words to be settled.
            wake_run(session, attempt.run_id, now)
        if attempt.settled_at is not None:
            _words_came_late(session, attempt, conversation, now)
        return True

    def opt_out(self, attempt_id: str, source: str, now: datetime) -> None:
        """Do not call this number again, from this moment, on any plan."""
        with self._database.write() as session:
            phone = session.scalars(select(Attempt.phone).where(Attempt.id == attempt_id)).one()
            suppress(session, phone, source, now)

    def mark_answered_by(self, attempt_id: str, answered_by: str, now: datetime) -> None:
        """Who picked up, as the carrier's detection or our own ear says; the first to say so stands."""
        with self._database.write() as session:
            attempt = lock_attempt(session, attempt_id)
            if attempt is None or attempt.answered_by is not None:
                return
            attempt.answered_by = answered_by
            wake_run(session, attempt.run_id, now)

    def served(self, attempt_id: str, carrier_call_id: str, now: datetime) -> None:
        """Our voice webhook answered for this attempt: the contact picked up."""
        with self._database.write() as session:
            attempt = lock_attempt(session, attempt_id)
            if attempt is None or attempt.settled_at is not None or attempt.voice_served_at is not None:
                return
            attempt.voice_served_at = now
            attempt.status = AttemptStatus.IN_PROGRESS
            attempt.carrier_call_id = attempt.carrier_call_id or carrier_call_id
            add_signal(
                session,
                run_id=attempt.run_id,
                attempt_id=attempt_id,
                source="webhook:voice",
                external_id=attempt_id,
                kind="answered",
                payload={},
                now=now,
            )

    def recording_started(self, attempt_id: str, epoch: int, path: str, now: datetime) -> None:
        with self._database.write() as session:
            insert_or_ignore(
                session,
                Recording,
                {"id": new_id(), "attempt_id": attempt_id, "epoch": epoch, "path": path, "started_at": now},
            )

    def recording_sealed(
        self,
        attempt_id: str,
        epoch: int,
        seconds: float,
        size_bytes: int,
        now: datetime,
        *,
        missing_seconds: float = 0.0,
        cut: bool = False,
    ) -> None:
        """The recording is over; `missing_seconds` the disk did not take. `cut`: the file breaks off, and was never closed."""
        with self._database.write() as session:
            session.execute(
                update(Recording)
                .where(Recording.attempt_id == attempt_id, Recording.epoch == epoch)
                .values(sealed_at=None if cut else now, seconds=seconds, size_bytes=size_bytes, missing_seconds=missing_seconds)
            )

    def recording_parts(self, attempt_id: str) -> list[RecordingPart]:
        with self._database.read() as session:
            rows = session.scalars(select(Recording).where(Recording.attempt_id == attempt_id).order_by(Recording.epoch)).all()
        return [RecordingPart(row.epoch, row.path, row.sealed_at is not None, row.seconds, row.missing_seconds) for row in rows]

    def turns_in(self, session: Session, conversation_id: str) -> list[TurnRecord]:
        rows = session.scalars(select(Turn).where(Turn.conversation_id == conversation_id).order_by(Turn.ordinal)).all()
        opened = []
        for row in rows:
            context = turn_context(conversation_id, row.ordinal)
            opened.append(
                TurnRecord(
                    ordinal=row.ordinal,
                    checkpoint=row.checkpoint,
                    said=self._database.open_text(row.said_sealed, context) if row.said_sealed is not None else None,
                    reply=self._database.open_text(row.reply_sealed, context) if row.reply_sealed is not None else None,
                    at=row.at,
                    timings=row.timings,
                )
            )
        return opened

    def state_in(self, conversation: Conversation) -> dict[str, Any]:
        return self._database.open_json(conversation.state_sealed, _state_context(conversation.id))


def _words_came_late(session: Session, attempt: Attempt, conversation: Conversation, now: datetime) -> None:
    """The attempt was settled without these words: its run looks again, even if it had ended."""
    add_signal(
        session,
        run_id=attempt.run_id,
        attempt_id=attempt.id,
        source=LATE_WORDS,
        external_id=f"{conversation.id}:{conversation.version}",
        kind=LATE_WORDS,
        payload={},
        now=now,
    )
    revive(session, attempt.run_id, "await_webhook", now)


def turns_spoken(session: Session, attempt_id: str) -> int:
    """In how many turns the contact has said or pressed something."""
    said = (
        select(func.count(Turn.id))
        .join(Conversation, Conversation.id == Turn.conversation_id)
        .where(Conversation.attempt_id == attempt_id, Turn.said_sealed.is_not(None))
    )
    return session.scalar(said) or 0


def spool_replayed_at(session: Session, spool: str | None) -> datetime | None:
    return session.scalar(select(Spool.replayed_at).where(Spool.id == spool)) if spool is not None else None


def turn_context(conversation_id: str, ordinal: int) -> str:
    return f"turn:{conversation_id}:{ordinal}"


def _state_context(conversation_id: str) -> str:
    return f"conversation-state:{conversation_id}"
