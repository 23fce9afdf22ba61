"""Alembic's entry: runs the revisions on the connection that `core.storage.schema` hands over."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from core.storage.tables import Base, UtcDateTime


def _render_item(kind: str, item: Any, _autogen: Any) -> str | Literal[False]:
    # A revision must still run when the program's own types have moved on.
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, render_item=_render_item)
with context.begin_transaction():
    context.run_migrations()
