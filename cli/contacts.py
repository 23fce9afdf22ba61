"""orch contact add | list | show."""

from __future__ import annotations

from typing import Annotated

import typer

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
    plan: Annotated[str | None, typer.Option(help="Plan of this contact's calls.")] = None,
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


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the contacts."""
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
            "": lambda c: "do not call" if c.do_not_call else "",
        },
        empty="No contacts yet. Add one: orch contact add --name NAME --phone +1... --timezone ZONE",
    )


@app.command()
def show(contact: Annotated[str, typer.Argument(help="Id, number or name.")], json: JsonFlag = False) -> None:
    """Show a contact with windows and latest calls."""
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
    lines += [f"window {w.id[:8]}  {w.window}  next opens {local(w.next_opens_at, found.timezone)}" for w in windows]
    lines += [f"call {c.id[:8]}  {local(c.created_at, found.timezone)}  {c.state}  {c.reason or ''}" for c in calls]
    emit({**asdict(found), "windows": windows, "calls": calls}, json, "\n".join(lines))


@app.command()
def move(
    contact: Annotated[str, typer.Argument(help="Id, number or name.")],
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


@app.command("do-not-call")
def do_not_call(contact: Annotated[str, typer.Argument(help="Id, number or name.")], json: JsonFlag = False) -> None:
    """Never call this contact's number again, from now on and on any plan. A phone that rings stops ringing."""
    from cli.session import open_session
    from cli.show import emit

    with open_session() as session:
        found = session.contacts.find(contact)
        session.contacts.suppress(found.phone, "operator", session.now)
        found = session.contacts.find(found.id)
    emit(found, json, f"{found.name}'s number will not be called again")
