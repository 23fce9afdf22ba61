"""Carrier accounts and inbound calls"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "spools",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("replayed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spools")),
    )
    op.create_table(
        "inbound_calls",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("carrier_call_id", sa.String(length=64), nullable=False),
        sa.Column("phone", sa.String(length=20), nullable=True),
        sa.Column("contact_id", sa.String(length=32), nullable=True),
        sa.Column("attempt_id", sa.String(length=32), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opted_out_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_inbound_calls_attempt_id_attempts")),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], name=op.f("fk_inbound_calls_contact_id_contacts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbound_calls")),
        sa.UniqueConstraint("carrier_call_id", name=op.f("uq_inbound_calls_carrier_call_id")),
    )
    with op.batch_alter_table("inbound_calls", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_inbound_calls_contact_id"), ["contact_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_inbound_calls_phone"), ["phone"], unique=False)
        batch_op.create_index(batch_op.f("ix_inbound_calls_received_at"), ["received_at"], unique=False)

    op.create_table(
        "stray_calls",
        sa.Column("carrier_call_id", sa.String(length=64), nullable=False),
        sa.Column("attempt_id", sa.String(length=32), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_stray_calls_attempt_id_attempts")),
        sa.PrimaryKeyConstraint("carrier_call_id", name=op.f("pk_stray_calls")),
    )
    with op.batch_alter_table("stray_calls", schema=None) as batch_op:
        batch_op.create_index("ix_stray_calls_ended_at", ["ended_at"], unique=False)

    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("account", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("unplaced", sa.String(length=20), nullable=True))
        batch_op.add_column(sa.Column("resolved_by", sa.String(length=100), nullable=True))
        batch_op.add_column(sa.Column("stream_began_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("spool", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("epoch_saved", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("stream_ended_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("document_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("redirected_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("redirects", sa.Integer(), nullable=True))

    with op.batch_alter_table("contacts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("paused_reason", sa.Text(), nullable=True))

    with op.batch_alter_table("dial_control", schema=None) as batch_op:
        batch_op.add_column(sa.Column("public_url_checked_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("public_url_problem", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("speech_problem", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("carrier_queue_seconds", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("carrier_queue_at", sa.DateTime(timezone=True), nullable=True))

    with op.batch_alter_table("problems", schema=None) as batch_op:
        batch_op.add_column(sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))

    with op.batch_alter_table("recordings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("missing_seconds", sa.Float(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("recordings", schema=None) as batch_op:
        batch_op.drop_column("missing_seconds")

    with op.batch_alter_table("problems", schema=None) as batch_op:
        batch_op.drop_column("expires_at")

    with op.batch_alter_table("dial_control", schema=None) as batch_op:
        batch_op.drop_column("carrier_queue_at")
        batch_op.drop_column("carrier_queue_seconds")
        batch_op.drop_column("speech_problem")
        batch_op.drop_column("public_url_problem")
        batch_op.drop_column("public_url_checked_at")

    with op.batch_alter_table("contacts", schema=None) as batch_op:
        batch_op.drop_column("paused_reason")
        batch_op.drop_column("paused_at")

    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_column("redirects")
        batch_op.drop_column("redirected_at")
        batch_op.drop_column("document_at")
        batch_op.drop_column("stream_ended_at")
        batch_op.drop_column("epoch_saved")
        batch_op.drop_column("spool")
        batch_op.drop_column("stream_began_at")
        batch_op.drop_column("resolved_by")
        batch_op.drop_column("unplaced")
        batch_op.drop_column("account")

    with op.batch_alter_table("stray_calls", schema=None) as batch_op:
        batch_op.drop_index("ix_stray_calls_ended_at")

    op.drop_table("stray_calls")
    with op.batch_alter_table("inbound_calls", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_inbound_calls_received_at"))
        batch_op.drop_index(batch_op.f("ix_inbound_calls_phone"))
        batch_op.drop_index(batch_op.f("ix_inbound_calls_contact_id"))

    op.drop_table("inbound_calls")
    op.drop_table("spools")
