"""orch window add | list | remove."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.completion import complete_contact, complete_plan

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(no_args_is_help=True, help="When contacts may be called.")


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="window")


@app.command()
def add(
    contact: Annotated[str, typer.Argument(help="Id, number or name.", autocompletion=complete_contact)],
    start: Annotated[str, typer.Option(help="Local start, HH:MM.")],
    end: Annotated[str, typer.Option(help="Local end, HH:MM. Earlier than the start: the window crosses midnight.")],
    days: Annotated[str | None, typer.Option(help="Recurring: mon,wed or mon-fri or daily.")] = None,
    date: Annotated[str | None, typer.Option(help="One-off: YYYY-MM-DD.")] = None,
    plan: Annotated[str | None, typer.Option(help="Plan of the calls of this window.", autocompletion=complete_plan)] = None,
    json: JsonFlag = False,
) -> None:
    """Add a call window, in the contact's own time.

    orch window add Ada --days mon-fri --start 08:00 --end 09:00
    orch window add Ada --date 2026-12-01 --start 08:00 --end 09:00
    """
    from cli.session import open_session
    from cli.show import emit, local
    from core.domain.windows import LocalWindow, parse_date, parse_days, parse_time
    from core.errors import InvalidInput

    if (days is None) == (date is None):
        raise InvalidInput("give either --days (recurring) or --date (once)")
    window = LocalWindow(
        parse_days(days) if days is not None else None, parse_date(date) if date is not None else None, parse_time(start), parse_time(end)
    )
    with open_session() as session:
        made = session.booking.add_window(session.contacts.find(contact), window, plan, session.now)
    emit(made, json, f"Added window {made.id[:8]} for {made.contact_name}: {window}, next opens {local(made.next_opens_at, made.timezone)}")


@app.command("list")
def list_(
    contact: Annotated[str | None, typer.Argument(help="Only this contact's.", autocompletion=complete_contact)] = None,
    json: JsonFlag = False,
) -> None:
    """List call windows.

    orch window list
    orch window list Ada
    """
    from cli.session import open_session
    from cli.show import local, table

    with open_session() as session:
        found = session.contacts.windows(session.contacts.find(contact).id if contact else None)
    table(
        found,
        json,
        {
            "ID": lambda w: w.id[:8],
            "CONTACT": lambda w: w.contact_name,
            "WINDOW": lambda w: str(w.window),
            "NEXT OPENS": lambda w: local(w.next_opens_at, w.timezone),
            "PLAN": lambda w: w.plan or "",
        },
        empty="No call windows. Add one: orch window add CONTACT --days mon-fri --start 08:00 --end 09:00",
    )


@app.command()
def remove(window: Annotated[str, typer.Argument(help="Id of the window.")], json: JsonFlag = False) -> None:
    """Remove a call window. A call it has opened already goes on.

    orch window remove 3f2a91c0
    """
    from cli.session import open_session
    from cli.show import emit

    with open_session() as session:
        gone = session.contacts.remove_window(window, session.now)
    emit(gone, json, f"Removed window {gone.id[:8]} of {gone.contact_name} ({gone.window})")
