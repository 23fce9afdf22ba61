"""orch contact add | import | list | show | pause | resume | move | do-not-call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import complete_contact, complete_plan

if TYPE_CHECKING:
    from core.storage.contacts import ContactView
    from core.windows.importing import ImportReport

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(no_args_is_help=True, help="The people we call.")


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="contact")


@app.command()
def add(
    name: Annotated[str, typer.Option(help="How the contact is called.")],
    phone: Annotated[str, typer.Option(help="Number in E.164 form, such as +12025550123.")],
    timezone: Annotated[str, typer.Option(help="IANA zone, such as America/New_York.")],
    pronounce: Annotated[str | None, typer.Option(help="How the name is spoken, respelled: 'shiv-AWN'.")] = None,
    plan: Annotated[str | None, typer.Option(help="Plan of this contact's calls.", autocompletion=complete_plan)] = None,
    json: JsonFlag = False,
) -> None:
    """Add a contact.

    orch contact add --name Ada --phone +12025550123 --timezone America/New_York
    """
    from cli.session import open_session
    from cli.show import emit
    from core.windows.booking import NewContact

    with open_session() as session:
        made = session.booking.add_contact(NewContact(name, phone, timezone, pronounce, plan), session.now)
    emit(made, json, f"Added {made.name} ({made.id[:8]}). Next: orch window add {made.id[:8]} --days mon-fri --start 08:00 --end 09:00")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV file, UTF-8; - reads from stdin.")],
    plan: Annotated[str | None, typer.Option(help="Plan of the contacts whose row names none.", autocompletion=complete_plan)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, store nothing.")] = False,
    json: JsonFlag = False,
) -> None:
    """Add the contacts of a CSV file, all of them or none. Every faulty row is named with its line.

    The first line names the columns, in any order: name, phone, timezone; if wanted pronunciation and plan; and for a weekly call
    window days, start and end. Cells are separated by commas or semicolons. A number that is a contact's already is a fault.
    Exit code: 0 all were imported, 1 the file has faults and nothing was imported.

    orch contact import people.csv --dry-run
    orch contact import people.csv --plan daily-reflection
    """
    from cli.session import open_session

    raw = _read(file)
    with open_session() as session, _progress() as progress:
        report = session.booking.importer().run(raw, plan, session.now, dry_run=dry_run, progress=progress)
    _show_import(report, str(file), dry_run=dry_run, json=json)
    if report.faults:
        raise typer.Exit(1)


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the contacts.

    orch contact list
    orch contact list --json | jq length
    """
    from cli.session import open_session
    from cli.show import table

    with open_session() as session:
        people = session.contacts.all()
    table(
        people,
        json,
        {
            "ID": lambda c: c.id[:8],
            "NAME": lambda c: c.name,
            "PHONE": lambda c: c.phone,
            "ZONE": lambda c: c.timezone,
            "PLAN": lambda c: c.plan or "",
            "NOTE": _held_back,
        },
        empty="No contacts yet. Add one: orch contact add --name NAME --phone +1... --timezone ZONE",
    )


@app.command()
def show(
    contact: Annotated[str, typer.Argument(help="Id, number or name.", autocompletion=complete_contact)], json: JsonFlag = False
) -> None:
    """Show a contact with windows and latest calls.

    orch contact show Ada
    """
    from dataclasses import asdict

    from cli.session import open_session
    from cli.show import emit, local

    with open_session() as session:
        found = session.contacts.find(contact)
        windows = session.contacts.windows(found.id)
        calls = session.calls.recent(contact_id=found.id, limit=10)
    lines = [
        f"{found.name}  {found.phone}  {found.timezone}  ({found.id})",
        f"spoken as: {found.pronunciation or found.name}; plan: {found.plan or 'the default one'}",
    ]
    if found.do_not_call:
        lines.append("DO NOT CALL: this number asked not to be called")
    if found.paused_at is not None:
        why = f": {found.paused_reason}" if found.paused_reason else ""
        lines.append(f"PAUSED since {local(found.paused_at, found.timezone)}{why}; `orch contact resume {found.id[:8]}` ends it")
    lines += [f"window {w.id[:8]}  {w.window}  next opens {local(w.next_opens_at, found.timezone)}" for w in windows]
    lines += [f"call {c.id[:8]}  {local(c.created_at, found.timezone)}  {c.state}  {c.reason or ''}" for c in calls]
    emit({**asdict(found), "windows": windows, "calls": calls}, json, "\n".join(lines))


@app.command()
def move(
    contact: Annotated[str, typer.Argument(help="Id, number or name.", autocompletion=complete_contact)],
    timezone: Annotated[str, typer.Option(help="IANA zone the contact lives in now.")],
    json: JsonFlag = False,
) -> None:
    """Move a contact to another time zone: the windows keep their local times.

    orch contact move Ada --timezone Europe/London
    """
    from cli.session import open_session
    from cli.show import emit

    with open_session() as session:
        moved = session.booking.move_contact(session.contacts.find(contact), timezone, session.now)
    emit(moved, json, f"{moved.name} lives in {moved.timezone} now; see `orch window list {moved.id[:8]}`")


@app.command()
def pause(
    contact: Annotated[str, typer.Argument(help="Id, number or name.", autocompletion=complete_contact)],
    reason: Annotated[str | None, typer.Option(help="Why; shown wherever a call of theirs is held back.")] = None,
    json: JsonFlag = False,
) -> None:
    """Do not call a contact until further notice. A phone that rings stops ringing; a conversation goes on.

    Calls that come due meanwhile wait, and are recorded as missed when their window closes.

    orch contact pause Ada --reason "on holiday until 3 January"
    orch contact resume Ada
    """
    from cli.session import open_session
    from cli.show import emit
    from core.domain.contacts import clean_remark

    why = clean_remark(reason, "reason")
    with open_session() as session:
        found = session.contacts.find(contact)
        changed = session.contacts.pause(found.id, why, session.now)
        found = session.contacts.find(found.id)
        waiting = [call.id[:8] for call in session.calls.recent(contact_id=found.id) if not call.is_final]
    already = "" if changed else " already" + (f" ({found.paused_reason})" if found.paused_reason else "")
    text = f"{found.name} is paused{already}. `orch contact resume {found.id[:8]}` ends it."
    if waiting:
        text += f" Held back until then: {', '.join(f'call {call}' for call in waiting)}; `orch call cancel` ends one for good."
    emit(found, json, text)


@app.command()
def resume(
    contact: Annotated[str, typer.Argument(help="Id, number or name.", autocompletion=complete_contact)], json: JsonFlag = False
) -> None:
    """Call a paused contact again. A call that waits for it goes on, if its window is still open.

    orch contact resume Ada
    """
    from cli.session import open_session
    from cli.show import emit

    with open_session() as session:
        found = session.contacts.find(contact)
        changed = session.contacts.resume(found.id, session.now)
        found = session.contacts.find(found.id)
    emit(found, json, f"{found.name} is called again." if changed else f"{found.name} was not paused.")


@app.command("do-not-call")
def do_not_call(
    contact: Annotated[str, typer.Argument(help="Id, number or name.", autocompletion=complete_contact)], json: JsonFlag = False
) -> None:
    """Never call this contact's number again, from now on and on any plan. A phone that rings stops ringing.

    orch contact do-not-call Ada
    """
    from cli.session import open_session
    from cli.show import emit

    with open_session() as session:
        found = session.contacts.find(contact)
        session.contacts.suppress(found.phone, "operator", session.now)
        found = session.contacts.find(found.id)
    emit(found, json, f"{found.name}'s number will not be called again")


def _held_back(contact: ContactView) -> str:
    return ", ".join(word for word, holds in (("do not call", contact.do_not_call), ("paused", contact.paused_at is not None)) if holds)


def _read(file: Path) -> bytes:
    """Raises InvalidInput when there is nothing to read."""
    import sys

    from core.errors import InvalidInput

    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror or error}") from None


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, if that is a terminal."""
    import sys

    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from cli.render import messages

    with Progress("checking", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=messages(), transient=True) as bar:
        task = bar.add_task("checking", total=None)
        yield lambda done, everything: bar.update(task, completed=done, total=everything)


def _show_import(report: ImportReport, file: str, *, dry_run: bool, json: bool) -> None:
    from cli.render import error_line, note, print_json
    from cli.show import plain

    if json:
        print_json(plain(report) | {"file": file, "dry_run": dry_run, "imported": len(report.contacts)})
    for fault in [] if json else report.faults:
        note(f"{file}: {fault}")
    if report.faults:
        lines = len({fault.line for fault in report.faults})
        error_line(f"{lines} faulty line{'s' * (lines != 1)} in {file}; nothing was imported. Mend them, and import the file again")
        return
    windows = f", {report.windows} with a call window" if report.windows else ""
    refused = f"; {report.do_not_call} of the numbers asked not to be called, and will not be" if report.do_not_call else ""
    if not json:
        people = f"{report.rows} contact{'s' * (report.rows != 1)}{windows}{refused}"
        typer.echo(f"{file} has no faults: {people}. Nothing was stored" if dry_run else f"Imported {people}")
