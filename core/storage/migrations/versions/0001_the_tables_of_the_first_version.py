"""The tables of the first version"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "contacts",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("phone", sa.String(length=20), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("pronunciation", sa.String(length=200), nullable=True),
        sa.Column("plan", sa.String(length=100), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("demo", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contacts")),
    )
    with op.batch_alter_table("contacts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_contacts_demo"), ["demo"], unique=False)
        batch_op.create_index(batch_op.f("ix_contacts_phone"), ["phone"], unique=False)

    op.create_table(
        "dial_control",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.Column("next_slot_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_dial_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("clock_skew_seconds", sa.Float(), nullable=True),
        sa.Column("clock_checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dial_control")),
    )
    op.create_table(
        "jobs",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("worker", sa.String(length=40), nullable=False),
        sa.Column("period_seconds", sa.Float(), nullable=False),
        sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_duration_ms", sa.Float(), nullable=True),
        sa.Column("last_result", sa.Text(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_jobs")),
    )
    op.create_table(
        "numbers",
        sa.Column("phone", sa.String(length=20), nullable=False),
        sa.Column("do_not_call_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("do_not_call_source", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("phone", name=op.f("pk_numbers")),
    )
    op.create_table(
        "problems",
        sa.Column("key", sa.String(length=160), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_problems")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("workflow", sa.String(length=40), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("driver", sa.String(length=20), nullable=False),
        sa.Column("queue", sa.String(length=40), nullable=False),
        sa.Column("subject_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("position", sa.String(length=40), nullable=False),
        sa.Column("waiting_for", sa.String(length=80), nullable=True),
        sa.Column("wake_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("owner", sa.String(length=160), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("pause_requested", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("workflow", "subject_id", name=op.f("uq_runs_workflow_subject_id")),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index("ix_runs_queue_state_wake_at", ["queue", "state", "wake_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_subject_id"), ["subject_id"], unique=False)

    op.create_table(
        "triggers",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("job", sa.String(length=40), nullable=False),
        sa.Column("worker", sa.String(length=40), nullable=False),
        sa.Column("requested_by", sa.String(length=100), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_triggers")),
    )
    with op.batch_alter_table("triggers", schema=None) as batch_op:
        batch_op.create_index("ix_triggers_worker_state", ["worker", "state"], unique=False)

    op.create_table(
        "wakeups",
        sa.Column("topic", sa.String(length=60), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", name=op.f("pk_wakeups")),
    )
    op.create_table(
        "worker_uptimes",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("worker", sa.String(length=40), nullable=False),
        sa.Column("up_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("up_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker_uptimes")),
    )
    with op.batch_alter_table("worker_uptimes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_worker_uptimes_worker"), ["worker"], unique=False)

    op.create_table(
        "call_windows",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("contact_id", sa.String(length=32), nullable=False),
        sa.Column("weekdays", sa.Integer(), nullable=True),
        sa.Column("on_date", sa.Date(), nullable=True),
        sa.Column("start", sa.String(length=5), nullable=False),
        sa.Column("end", sa.String(length=5), nullable=False),
        sa.Column("plan", sa.String(length=100), nullable=True),
        sa.Column("next_opens_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("scheduled_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tzdata_version", sa.String(length=20), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], name=op.f("fk_call_windows_contact_id_contacts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_call_windows")),
    )
    with op.batch_alter_table("call_windows", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_call_windows_contact_id"), ["contact_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_call_windows_next_opens_at"), ["next_opens_at"], unique=False)

    op.create_table(
        "run_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("detail_sealed", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_events_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_events")),
    )
    with op.batch_alter_table("run_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_run_events_run_id"), ["run_id"], unique=False)

    op.create_table(
        "scheduled_calls",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("contact_id", sa.String(length=32), nullable=False),
        sa.Column("origin", sa.String(length=20), nullable=False),
        sa.Column("origin_key", sa.String(length=200), nullable=False),
        sa.Column("window_id", sa.String(length=32), nullable=True),
        sa.Column("opening_date", sa.Date(), nullable=True),
        sa.Column("opens_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("plan", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("retry_count", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("slot_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], name=op.f("fk_scheduled_calls_contact_id_contacts")),
        sa.ForeignKeyConstraint(["window_id"], ["call_windows.id"], name=op.f("fk_scheduled_calls_window_id_call_windows")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduled_calls")),
        sa.UniqueConstraint("origin_key", name=op.f("uq_scheduled_calls_origin_key")),
    )
    with op.batch_alter_table("scheduled_calls", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_scheduled_calls_contact_id"), ["contact_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_scheduled_calls_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_scheduled_calls_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_scheduled_calls_window_id"), ["window_id"], unique=False)

    op.create_table(
        "attempts",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("scheduled_call_id", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("contact_id", sa.String(length=32), nullable=False),
        sa.Column("phone", sa.String(length=20), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("carrier", sa.String(length=20), nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("carrier_call_id", sa.String(length=64), nullable=True),
        sa.Column("carrier_status", sa.String(length=20), nullable=True),
        sa.Column("carrier_sequence", sa.Integer(), nullable=True),
        sa.Column("sip_code", sa.Integer(), nullable=True),
        sa.Column("answered_by", sa.String(length=30), nullable=True),
        sa.Column("owner_boot", sa.String(length=120), nullable=False),
        sa.Column("owner_pid", sa.Integer(), nullable=False),
        sa.Column("owner_started", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("send_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dial_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("voice_served_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_reason", sa.String(length=40), nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_absent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stream_epoch", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], name=op.f("fk_attempts_contact_id_contacts")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_attempts_run_id_runs")),
        sa.ForeignKeyConstraint(["scheduled_call_id"], ["scheduled_calls.id"], name=op.f("fk_attempts_scheduled_call_id_scheduled_calls")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("carrier_call_id", name=op.f("uq_attempts_carrier_call_id")),
        sa.UniqueConstraint("scheduled_call_id", "ordinal", name=op.f("uq_attempts_scheduled_call_id_ordinal")),
    )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_attempts_contact_id"), ["contact_id"], unique=False)
        batch_op.create_index("ix_attempts_phone_created_at", ["phone", "created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_attempts_run_id"), ["run_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_attempts_scheduled_call_id"), ["scheduled_call_id"], unique=False)
        batch_op.create_index("ix_attempts_status", ["status"], unique=False)
        batch_op.create_index(
            "uq_attempts_open_phone",
            ["phone"],
            unique=True,
            sqlite_where=sa.text("status IN ('dialing', 'in_progress', 'intended', 'queued', 'ringing', 'unknown')"),
            postgresql_where=sa.text("status IN ('dialing', 'in_progress', 'intended', 'queued', 'ringing', 'unknown')"),
        )

    op.create_table(
        "verdicts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("contact_id", sa.String(length=32), nullable=False),
        sa.Column("scheduled_call_id", sa.String(length=32), nullable=False),
        sa.Column("attempt_ordinal", sa.Integer(), nullable=False),
        sa.Column("rule", sa.String(length=40), nullable=False),
        sa.Column("allowed", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], name=op.f("fk_verdicts_contact_id_contacts")),
        sa.ForeignKeyConstraint(["scheduled_call_id"], ["scheduled_calls.id"], name=op.f("fk_verdicts_scheduled_call_id_scheduled_calls")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
    )
    with op.batch_alter_table("verdicts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_verdicts_contact_id"), ["contact_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_verdicts_scheduled_call_id"), ["scheduled_call_id"], unique=False)

    op.create_table(
        "conversations",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("attempt_id", sa.String(length=32), nullable=False),
        sa.Column("scheduled_call_id", sa.String(length=32), nullable=False),
        sa.Column("contact_id", sa.String(length=32), nullable=False),
        sa.Column("plan", sa.String(length=100), nullable=False),
        sa.Column("plan_digest", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("ended_by", sa.String(length=40), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_conversations_attempt_id_attempts")),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], name=op.f("fk_conversations_contact_id_contacts")),
        sa.ForeignKeyConstraint(
            ["scheduled_call_id"], ["scheduled_calls.id"], name=op.f("fk_conversations_scheduled_call_id_scheduled_calls")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversations")),
        sa.UniqueConstraint("attempt_id", name=op.f("uq_conversations_attempt_id")),
    )
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_conversations_contact_id"), ["contact_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_conversations_scheduled_call_id"), ["scheduled_call_id"], unique=False)

    op.create_table(
        "recordings",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("attempt_id", sa.String(length=32), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=300), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_recordings_attempt_id_attempts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recordings")),
        sa.UniqueConstraint("attempt_id", "epoch", name=op.f("uq_recordings_attempt_id_epoch")),
    )
    op.create_table(
        "signals",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("attempt_id", sa.String(length=32), nullable=True),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("external_id", sa.String(length=160), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("consumed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_signals_attempt_id_attempts")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_signals_run_id_runs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signals")),
        sa.UniqueConstraint("source", "external_id", name=op.f("uq_signals_source_external_id")),
    )
    with op.batch_alter_table("signals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_signals_attempt_id"), ["attempt_id"], unique=False)
        batch_op.create_index("ix_signals_run_id_consumed_at", ["run_id", "consumed_at"], unique=False)

    op.create_table(
        "journal_entries",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("conversation_id", sa.String(length=32), nullable=False),
        sa.Column("scheduled_call_id", sa.String(length=32), nullable=False),
        sa.Column("contact_id", sa.String(length=32), nullable=False),
        sa.Column("plan", sa.String(length=100), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("body_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], name=op.f("fk_journal_entries_contact_id_contacts")),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"], name=op.f("fk_journal_entries_conversation_id_conversations")),
        sa.ForeignKeyConstraint(
            ["scheduled_call_id"], ["scheduled_calls.id"], name=op.f("fk_journal_entries_scheduled_call_id_scheduled_calls")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_entries")),
        sa.UniqueConstraint("conversation_id", name=op.f("uq_journal_entries_conversation_id")),
    )
    with op.batch_alter_table("journal_entries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_journal_entries_contact_id"), ["contact_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_journal_entries_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_journal_entries_scheduled_call_id"), ["scheduled_call_id"], unique=False)

    op.create_table(
        "turns",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("conversation_id", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("checkpoint", sa.String(length=100), nullable=True),
        sa.Column("said_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("reply_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("timings", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"], name=op.f("fk_turns_conversation_id_conversations")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_turns")),
        sa.UniqueConstraint("conversation_id", "ordinal", name=op.f("uq_turns_conversation_id_ordinal")),
    )


def downgrade() -> None:
    op.drop_table("turns")
    with op.batch_alter_table("journal_entries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_journal_entries_scheduled_call_id"))
        batch_op.drop_index(batch_op.f("ix_journal_entries_created_at"))
        batch_op.drop_index(batch_op.f("ix_journal_entries_contact_id"))

    op.drop_table("journal_entries")
    with op.batch_alter_table("signals", schema=None) as batch_op:
        batch_op.drop_index("ix_signals_run_id_consumed_at")
        batch_op.drop_index(batch_op.f("ix_signals_attempt_id"))

    op.drop_table("signals")
    op.drop_table("recordings")
    with op.batch_alter_table("conversations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_conversations_scheduled_call_id"))
        batch_op.drop_index(batch_op.f("ix_conversations_contact_id"))

    op.drop_table("conversations")
    with op.batch_alter_table("verdicts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_verdicts_scheduled_call_id"))
        batch_op.drop_index(batch_op.f("ix_verdicts_contact_id"))

    op.drop_table("verdicts")
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_attempts_open_phone",
            sqlite_where=sa.text("status IN ('dialing', 'in_progress', 'intended', 'queued', 'ringing', 'unknown')"),
            postgresql_where=sa.text("status IN ('dialing', 'in_progress', 'intended', 'queued', 'ringing', 'unknown')"),
        )
        batch_op.drop_index("ix_attempts_status")
        batch_op.drop_index(batch_op.f("ix_attempts_scheduled_call_id"))
        batch_op.drop_index(batch_op.f("ix_attempts_run_id"))
        batch_op.drop_index("ix_attempts_phone_created_at")
        batch_op.drop_index(batch_op.f("ix_attempts_contact_id"))

    op.drop_table("attempts")
    with op.batch_alter_table("scheduled_calls", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_scheduled_calls_window_id"))
        batch_op.drop_index(batch_op.f("ix_scheduled_calls_state"))
        batch_op.drop_index(batch_op.f("ix_scheduled_calls_created_at"))
        batch_op.drop_index(batch_op.f("ix_scheduled_calls_contact_id"))

    op.drop_table("scheduled_calls")
    with op.batch_alter_table("run_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_run_events_run_id"))

    op.drop_table("run_events")
    with op.batch_alter_table("call_windows", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_call_windows_next_opens_at"))
        batch_op.drop_index(batch_op.f("ix_call_windows_contact_id"))

    op.drop_table("call_windows")
    with op.batch_alter_table("worker_uptimes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_worker_uptimes_worker"))

    op.drop_table("worker_uptimes")
    op.drop_table("wakeups")
    with op.batch_alter_table("triggers", schema=None) as batch_op:
        batch_op.drop_index("ix_triggers_worker_state")

    op.drop_table("triggers")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_runs_subject_id"))
        batch_op.drop_index("ix_runs_queue_state_wake_at")

    op.drop_table("runs")
    op.drop_table("problems")
    op.drop_table("numbers")
    op.drop_table("jobs")
    op.drop_table("dial_control")
    with op.batch_alter_table("contacts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_contacts_phone"))
        batch_op.drop_index(batch_op.f("ix_contacts_demo"))

    op.drop_table("contacts")
