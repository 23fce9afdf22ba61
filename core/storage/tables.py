"""Every table, and the unique keys that hold orch's promises even when the code around them is wrong.

Ids are 32 hex characters (UUIDv4) made by the program. Instants are aware UTC; `UtcDateTime` refuses a naive one.
Columns ending in `_sealed` hold bytes encrypted by the database's cipher, bound to the row they stand in.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from core.domain.calls import OPEN_ATTEMPT_STATUSES


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant, stored in UTC. SQLite keeps no zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime refused by the database: {value.isoformat()}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own protocol
        datetime: UtcDateTime,
        date: Date,
        bytes: LargeBinary,
        dict[str, Any]: JSON,
    }


Id = String(32)


class Contact(Base):
    """A person we call."""

    __tablename__ = "contacts"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    phone: Mapped[str] = mapped_column(String(20), index=True)
    timezone: Mapped[str] = mapped_column(String(64))
    pronunciation: Mapped[str | None] = mapped_column(String(200))
    plan: Mapped[str | None] = mapped_column(String(100))
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    paused_at: Mapped[datetime | None]
    paused_reason: Mapped[str | None] = mapped_column(Text)
    # Made under the simulator: never to be dialled by any other carrier.
    simulated: Mapped[bool] = mapped_column(Boolean, default=False)
    # Set by `orch demo`, so that a demo's people are told from real ones.
    demo: Mapped[str | None] = mapped_column(String(32), index=True)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Number(Base):
    """A phone number's row: locked by every dial to it and by every suppression of it."""

    __tablename__ = "numbers"
    phone: Mapped[str] = mapped_column(String(20), primary_key=True)
    do_not_call_at: Mapped[datetime | None]
    do_not_call_source: Mapped[str | None] = mapped_column(String(40))


class CallWindow(Base):
    """When a contact may be called. Recurring: `weekdays` (bit 0 = Monday); one-off: `on_date`. Times are local."""

    __tablename__ = "call_windows"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    contact_id: Mapped[str] = mapped_column(ForeignKey("contacts.id"), index=True)
    weekdays: Mapped[int | None] = mapped_column(Integer)
    on_date: Mapped[date | None]
    start: Mapped[str] = mapped_column(String(5))
    end: Mapped[str] = mapped_column(String(5))
    plan: Mapped[str | None] = mapped_column(String(100))
    # Null: removed, or a one-off window that has been served.
    next_opens_at: Mapped[datetime | None] = mapped_column(index=True)
    # When the present next_opens_at was computed: openings before it were never promised.
    scheduled_since: Mapped[datetime]
    tzdata_version: Mapped[str] = mapped_column(String(20))
    removed_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class ScheduledCall(Base):
    """One intention to talk to a contact. `origin_key` is what makes a day's call one call."""

    __tablename__ = "scheduled_calls"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    contact_id: Mapped[str] = mapped_column(ForeignKey("contacts.id"), index=True)
    origin: Mapped[str] = mapped_column(String(20))
    origin_key: Mapped[str] = mapped_column(String(200), unique=True)
    window_id: Mapped[str | None] = mapped_column(ForeignKey("call_windows.id"), index=True)
    opening_date: Mapped[date | None]
    opens_at: Mapped[datetime]
    closes_at: Mapped[datetime | None]
    plan: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(20), index=True)
    reason: Mapped[str | None] = mapped_column(Text)
    retry_count: Mapped[int] = mapped_column(Integer, default=0)
    # A retry waits until then, whatever wakes its run meanwhile.
    not_before: Mapped[datetime | None]
    # The place this call was given in the queue of dials (calls per second).
    slot_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    simulated: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[datetime] = mapped_column(index=True)
    updated_at: Mapped[datetime]


class Attempt(Base):
    """One dial through a carrier. At most one open attempt a phone number, over all contacts."""

    __tablename__ = "attempts"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    scheduled_call_id: Mapped[str] = mapped_column(ForeignKey("scheduled_calls.id"), index=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    contact_id: Mapped[str] = mapped_column(ForeignKey("contacts.id"), index=True)
    phone: Mapped[str] = mapped_column(String(20))
    ordinal: Mapped[int] = mapped_column(Integer)
    carrier: Mapped[str] = mapped_column(String(20))
    # Whose calls its listing shows. Null: dialled by a version that did not say.
    account: Mapped[str | None] = mapped_column(String(64))
    mode: Mapped[str] = mapped_column(String(10))  # enhanced or standard
    status: Mapped[str] = mapped_column(String(20))
    outcome: Mapped[str | None] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(Text)
    unplaced: Mapped[str | None] = mapped_column(String(20))  # why it certainly rang nobody
    carrier_call_id: Mapped[str | None] = mapped_column(String(64), unique=True)
    carrier_status: Mapped[str | None] = mapped_column(String(20))
    carrier_sequence: Mapped[int | None] = mapped_column(Integer)
    sip_code: Mapped[int | None] = mapped_column(Integer)
    answered_by: Mapped[str | None] = mapped_column(String(30))
    owner_boot: Mapped[str] = mapped_column(String(120))  # host name (64 at most) and boot id
    owner_pid: Mapped[int] = mapped_column(Integer)
    owner_started: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]
    send_before: Mapped[datetime]
    dial_until: Mapped[datetime]
    request_ended_at: Mapped[datetime | None]
    voice_served_at: Mapped[datetime | None]
    cancel_sent_at: Mapped[datetime | None]
    cancel_reason: Mapped[str | None] = mapped_column(String(40))
    checked_at: Mapped[datetime | None]  # when reconciliation last asked the carrier
    ended_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    resolved_by: Mapped[str | None] = mapped_column(String(100))  # the person who said what became of an unknown attempt
    # Two complete listings without the call, ten minutes apart, are what makes an unknown attempt absent.
    first_absent_at: Mapped[datetime | None]
    # Counts media streams: only the newest may save turns or hang up.
    stream_epoch: Mapped[int] = mapped_column(Integer, default=0)
    # The newest stream: when it began, the spool its words go through, and the last epoch whose words are all in SQL.
    stream_began_at: Mapped[datetime | None]
    spool: Mapped[str | None] = mapped_column(Id)
    epoch_saved: Mapped[int | None] = mapped_column(Integer)
    stream_ended_at: Mapped[datetime | None]
    # When the carrier last fetched a document for the live call, and when and how often it was told to.
    document_at: Mapped[datetime | None]
    redirected_at: Mapped[datetime | None]
    redirects: Mapped[int | None] = mapped_column(Integer)

    __table_args__ = (
        UniqueConstraint("scheduled_call_id", "ordinal"),
        Index(
            "uq_attempts_open_phone",
            "phone",
            unique=True,
            sqlite_where=text("status IN (" + ", ".join(f"'{s}'" for s in sorted(OPEN_ATTEMPT_STATUSES)) + ")"),
            postgresql_where=text("status IN (" + ", ".join(f"'{s}'" for s in sorted(OPEN_ATTEMPT_STATUSES)) + ")"),
        ),
        Index("ix_attempts_phone_created_at", "phone", "created_at"),
        Index("ix_attempts_status", "status"),
    )


class Spool(Base):
    """A media server's folder of words that are not in SQL yet, and when all that a dead process had left in it was taken over."""

    __tablename__ = "spools"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    replayed_at: Mapped[datetime]


class StrayCall(Base):
    """A carrier's call that belongs to no attempt any more: one too many, or shown up after its attempt was dialled again."""

    __tablename__ = "stray_calls"
    carrier_call_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"))
    found_at: Mapped[datetime]
    # Hung up by us, or reported as over.
    ended_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_stray_calls_ended_at", "ended_at"),)


class Run(Base):
    """One execution of a workflow. Claims carry a lease and a fence; every later write says `WHERE fence = mine`."""

    __tablename__ = "runs"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    workflow: Mapped[str] = mapped_column(String(40))
    version: Mapped[str] = mapped_column(String(40))
    driver: Mapped[str] = mapped_column(String(20))
    queue: Mapped[str] = mapped_column(String(40))
    subject_id: Mapped[str] = mapped_column(String(32), index=True)  # the scheduled call, for an engagement
    state: Mapped[str] = mapped_column(String(20))
    position: Mapped[str] = mapped_column(String(40))
    waiting_for: Mapped[str | None] = mapped_column(String(80))
    wake_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(Integer, default=0)  # claims that ended in an error, in a row
    error: Mapped[str | None] = mapped_column(Text)
    owner: Mapped[str | None] = mapped_column(String(160))
    fence: Mapped[int] = mapped_column(BigInteger, default=0)
    lease_until: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False)
    pause_requested: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("workflow", "subject_id"),
        Index("ix_runs_queue_state_wake_at", "queue", "state", "wake_at"),
    )


class RunEvent(Base):
    """What a run did, in order. `detail_sealed` is encrypted JSON."""

    __tablename__ = "run_events"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(40))
    detail_sealed: Mapped[bytes | None]


class Signal(Base):
    """Something a run waits for. Stored once (`source`, `external_id`), whoever brings it and however often."""

    __tablename__ = "signals"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"))
    attempt_id: Mapped[str | None] = mapped_column(ForeignKey("attempts.id"), index=True)
    source: Mapped[str] = mapped_column(String(40))
    external_id: Mapped[str] = mapped_column(String(160))
    kind: Mapped[str] = mapped_column(String(40))
    payload: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    received_at: Mapped[datetime]
    consumed_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("source", "external_id"), Index("ix_signals_run_id_consumed_at", "run_id", "consumed_at"))


class DialControl(Base):
    """One row: the kill switch and the shared rate counters. Every dial locks it first."""

    __tablename__ = "dial_control"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    paused_at: Mapped[datetime | None]
    paused_reason: Mapped[str | None] = mapped_column(Text)
    next_slot_at: Mapped[datetime | None]  # calls per second: the end of the queue of dials
    last_dial_at: Mapped[datetime | None]
    clock_skew_seconds: Mapped[float | None] = mapped_column(Float)
    clock_checked_at: Mapped[datetime | None]
    # Whether our public URL answered when it was last tried. Both null: it never was.
    public_url_checked_at: Mapped[datetime | None]
    public_url_problem: Mapped[str | None] = mapped_column(Text)
    # Why speech cannot be had, as the media server last found; null: it can, or nobody has tried.
    speech_problem: Mapped[str | None] = mapped_column(Text)
    # How long the carrier's own queue was when it last took a call.
    carrier_queue_seconds: Mapped[float | None] = mapped_column(Float)
    carrier_queue_at: Mapped[datetime | None]


class Verdict(Base):
    """One rule's answer about one dial, stored when its answer changes."""

    __tablename__ = "verdicts"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    contact_id: Mapped[str] = mapped_column(ForeignKey("contacts.id"), index=True)
    scheduled_call_id: Mapped[str] = mapped_column(ForeignKey("scheduled_calls.id"), index=True)
    attempt_ordinal: Mapped[int] = mapped_column(Integer)
    rule: Mapped[str] = mapped_column(String(40))
    allowed: Mapped[bool] = mapped_column(Boolean)
    detail: Mapped[str] = mapped_column(Text)
    inputs: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    at: Mapped[datetime]


class Conversation(Base):
    """A reflection session: the conversation record of one answered call."""

    __tablename__ = "conversations"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), unique=True)
    scheduled_call_id: Mapped[str] = mapped_column(ForeignKey("scheduled_calls.id"), index=True)
    contact_id: Mapped[str] = mapped_column(ForeignKey("contacts.id"), index=True)
    plan: Mapped[str] = mapped_column(String(100))
    plan_digest: Mapped[str] = mapped_column(String(64))
    channel: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20))  # in_progress, complete, abandoned
    ended_by: Mapped[str | None] = mapped_column(String(40))
    version: Mapped[int] = mapped_column(Integer, default=0)
    state_sealed: Mapped[bytes]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Turn(Base):
    """One utterance of the contact and our reply; the greeting is turn 0 and has no utterance."""

    __tablename__ = "turns"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    ordinal: Mapped[int] = mapped_column(Integer)
    checkpoint: Mapped[str | None] = mapped_column(String(100))
    said_sealed: Mapped[bytes | None]  # the contact's words
    reply_sealed: Mapped[bytes | None]
    timings: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("conversation_id", "ordinal"),)


class JournalEntry(Base):
    """What a call brought: the answers by checkpoint. Written once, at settlement."""

    __tablename__ = "journal_entries"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"), unique=True)
    scheduled_call_id: Mapped[str] = mapped_column(ForeignKey("scheduled_calls.id"), index=True)
    contact_id: Mapped[str] = mapped_column(ForeignKey("contacts.id"), index=True)
    plan: Mapped[str] = mapped_column(String(100))
    complete: Mapped[bool] = mapped_column(Boolean)
    body_sealed: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(index=True)


class Recording(Base):
    """An encrypted sound file of one media stream of an attempt. `path` is relative to the data folder."""

    __tablename__ = "recordings"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"))
    epoch: Mapped[int] = mapped_column(Integer)
    path: Mapped[str] = mapped_column(String(300))
    started_at: Mapped[datetime]
    sealed_at: Mapped[datetime | None]  # null: the media server died before it could close the file
    seconds: Mapped[float | None] = mapped_column(Float)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    missing_seconds: Mapped[float | None] = mapped_column(Float)  # sound that the disk did not take; null or 0: none

    __table_args__ = (UniqueConstraint("attempt_id", "epoch"),)


class InboundCall(Base):
    """Somebody rang us. `phone` is null when the number was withheld; `attempt_id` is the call that is being rung back."""

    __tablename__ = "inbound_calls"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    carrier_call_id: Mapped[str] = mapped_column(String(64), unique=True)
    phone: Mapped[str | None] = mapped_column(String(20), index=True)
    contact_id: Mapped[str | None] = mapped_column(ForeignKey("contacts.id"), index=True)
    attempt_id: Mapped[str | None] = mapped_column(ForeignKey("attempts.id"))
    received_at: Mapped[datetime] = mapped_column(index=True)
    answered_at: Mapped[datetime | None]
    opted_out_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class Job(Base):
    """A periodic duty of a worker, as last known. Written when something changed, not at each tick."""

    __tablename__ = "jobs"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    worker: Mapped[str] = mapped_column(String(40))
    period_seconds: Mapped[float] = mapped_column(Float)
    next_run_at: Mapped[datetime | None]
    last_run_at: Mapped[datetime | None]
    last_duration_ms: Mapped[float | None] = mapped_column(Float)
    last_result: Mapped[str | None] = mapped_column(Text)
    last_error: Mapped[str | None] = mapped_column(Text)


class Trigger(Base):
    """A person's wish that a job run now. Nobody took it in 60 s: it expires, and does not fire later."""

    __tablename__ = "triggers"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job: Mapped[str] = mapped_column(String(40))
    worker: Mapped[str] = mapped_column(String(40))
    requested_by: Mapped[str] = mapped_column(String(100))
    requested_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(20))  # pending, running, done, failed, expired
    finished_at: Mapped[datetime | None]
    result: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_triggers_worker_state", "worker", "state"),)


class Wakeup(Base):
    """One row a topic: `seq` is raised in the transaction that makes work due."""

    __tablename__ = "wakeups"
    topic: Mapped[str] = mapped_column(String(60), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, default=0)


class WorkerUptime(Base):
    """From when to when a worker is known to have been up: what tells a missed window from one nobody could serve."""

    __tablename__ = "worker_uptimes"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    worker: Mapped[str] = mapped_column(String(40), index=True)
    up_from: Mapped[datetime]
    up_until: Mapped[datetime]


class Problem(Base):
    """Something a person must look at. `key` keeps one problem from being reported twice."""

    __tablename__ = "problems"
    key: Mapped[str] = mapped_column(String(160), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    detail: Mapped[str] = mapped_column(Text)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    count: Mapped[int] = mapped_column(Integer, default=1)
    resolved_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]  # not shown from then on, unless it is reported again
