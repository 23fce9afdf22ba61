"""orch journal list | show | export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import complete_call, complete_contact

if TYPE_CHECKING:
    from core.storage.journal import JournalView

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(no_args_is_help=True, help="What the conversations brought.")


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="journal")


@app.command("list")
def list_(
    contact: Annotated[str | None, typer.Argument(help="Only this contact's.", autocompletion=complete_contact)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    json: JsonFlag = False,
) -> None:
    """List journal entries, the newest first.

    orch journal list Ada
    """
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
def show(
    entry: Annotated[str, typer.Argument(help="Id of the entry or of its call.", autocompletion=complete_call)], json: JsonFlag = False
) -> None:
    """Show one entry: the answers and the transcript.

    orch journal show 3f2a91c0
    """
    from cli.session import open_session
    from cli.show import emit
    from core.domain.journal import render_markdown

    with open_session() as session:
        found = session.journal.find(entry)
    emit(found, json, f"{found.contact_name}, {found.created_at:%Y-%m-%d %H:%M} UTC\n\n{render_markdown(found.body)}".rstrip())


@app.command()
def export(
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="markdown, json or jsonl. Default: as --out ends, else markdown.")
    ] = None,
    contact: Annotated[str | None, typer.Option(help="Only this contact's: id, number or name.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only entries written since then: 7d, 2026-12-01.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only entries written before then.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where it goes; - is stdout.")] = Path("-"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Export the journal, decrypted, the oldest entry first. The file is readable by you alone.

    markdown is one document with a section an entry. json is one object: exported_at, and entries, each as
    `orch journal show --json` has it. jsonl is such an entry a line.

    orch journal export --contact Ada --since 2026-11-01 --until 2026-12-01 --out ada.md
    orch journal export --format jsonl | jq -c '.body.answers'
    """
    from datetime import UTC, datetime

    from cli.journal_export import chosen_format, rendered, write
    from cli.logquery import instant
    from cli.render import note
    from cli.session import open_session
    from core.errors import InvalidInput

    form = chosen_format(format_, out)
    now = datetime.now(UTC)
    after = instant(since, "--since", now) if since is not None else None
    before = instant(until, "--until", now) if until is not None else None
    if after is not None and before is not None and after >= before:
        raise InvalidInput("--since is not earlier than --until: nothing lies between them")
    written = 0
    with open_session() as session:
        contact_id = session.contacts.find(contact).id if contact is not None else None

        def counted() -> Iterator[JournalView]:
            nonlocal written
            for entry in session.journal.between(contact_id=contact_id, since=after, until=before):
                written += 1
                yield entry

        write(rendered(counted(), form, now), out, overwrite=force)
    place = "" if str(out) == "-" else f" to {out}"
    if place or not written:
        note(f"Exported {written} journal entr{'y' if written == 1 else 'ies'}{place}")
