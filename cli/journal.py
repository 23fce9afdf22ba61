"""orch journal list | show."""

from __future__ import annotations

from typing import Annotated

import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(no_args_is_help=True, help="What the conversations brought.")


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="journal")


@app.command("list")
def list_(
    contact: Annotated[str | None, typer.Argument(help="Only this contact's.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    json: JsonFlag = False,
) -> None:
    """List journal entries, the newest first."""
    from cli.session import open_session
    from cli.show import table

    with open_session() as session:
        entries = session.journal.recent(contact_id=session.contacts.find(contact).id if contact else None, limit=limit)
    table(
        entries,
        json,
        {
            "ID": lambda e: e.id[:8],
            "CONTACT": lambda e: e.contact_name,
            "WHEN (UTC)": lambda e: f"{e.created_at:%Y-%m-%d %H:%M}",
            "PLAN": lambda e: e.plan,
            "COMPLETE": lambda e: "yes" if e.complete else "no",
            "ANSWERS": lambda e: f"{sum(1 for a in e.body['answers'] if a['answer'])}/{len(e.body['answers'])}",
        },
        empty="The journal is empty: no conversation has been held yet.",
    )


@app.command()
def show(entry: Annotated[str, typer.Argument(help="Id of the entry or of its call.")], json: JsonFlag = False) -> None:
    """Show one entry: the answers and the transcript."""
    from cli.session import open_session
    from cli.show import emit
    from core.domain.journal import render_markdown

    with open_session() as session:
        found = session.journal.find(entry)
    emit(found, json, f"{found.contact_name}, {found.created_at:%Y-%m-%d %H:%M} UTC\n\n{render_markdown(found.body)}".rstrip())
