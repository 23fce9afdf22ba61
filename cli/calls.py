"""orch call now | list | show | cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from core.storage.calls import CallView

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(no_args_is_help=True, help="Calls: made, waiting, over.")


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="call")


@app.command()
def now(
    contact: Annotated[str, typer.Argument(help="Id, number or name.")],
    plan: Annotated[str | None, typer.Option(help="Plan of this call.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the call is over.")] = False,
    json: JsonFlag = False,
) -> None:
    """Call a contact outside any window. Every rule holds for this call, too.

    orch call now Ada --wait
    """
    import time
    import uuid

    from cli.session import open_session
    from cli.show import emit

    with open_session() as session:
        person = session.contacts.find(contact)
        chosen = session.plans.get(plan or person.plan or session.settings.conversations.default_plan)
        call_id = session.calls.call_now(
            person.id, chosen.name, request_id=uuid.uuid4().hex, simulated=session.settings.simulated, closes_at=None, now=session.now
        )
        call = session.calls.find(call_id)
        while wait and not call.is_final:
            time.sleep(0.3)
            call = session.calls.find(call_id)
    emit(call, json, _told(call))
    if wait and call.state not in ("completed", "missed"):
        raise typer.Exit(1)


@app.command("list")
def list_(
    state: Annotated[list[str] | None, typer.Option(help="Only calls in this state; may be repeated.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    json: JsonFlag = False,
) -> None:
    """List calls, the newest first."""
    from cli.session import open_session
    from cli.show import local, table
    from core.domain.calls import CallState
    from core.errors import InvalidInput

    known = [each.value for each in CallState]
    for wanted in state or []:
        if wanted not in known:
            raise InvalidInput(f"no call is ever {wanted!r}; states: {', '.join(known)}")
    with open_session() as session:
        calls = session.calls.recent(states=state, limit=limit)
    table(
        calls,
        json,
        {
            "ID": lambda c: c.id[:8],
            "CONTACT": lambda c: c.contact_name,
            "WHEN": lambda c: local(c.created_at, c.timezone),
            "PLAN": lambda c: c.plan,
            "STATE": lambda c: c.state,
            "TRIES": lambda c: str(len(c.attempts)),
            "LAST OUTCOME": lambda c: (c.attempts[-1].outcome or c.attempts[-1].status) if c.attempts else "",
            "WHY": lambda c: c.reason or "",
        },
        empty="No calls yet. Add a window (orch window add) or call somebody now (orch call now).",
    )


@app.command()
def show(
    call: Annotated[str, typer.Argument(help="Id of the call, of an attempt, or of the carrier's call.")], json: JsonFlag = False
) -> None:
    """Show one call: attempts, verdicts, journal."""
    from dataclasses import asdict

    from cli.session import open_session
    from cli.show import emit

    with open_session() as session:
        found = session.calls.find(call)
        verdicts = session.calls.verdicts(found.id)
    lines = [_told(found)]
    lines += [
        f"  attempt {a.ordinal} ({a.id[:8]}, {a.mode}) {a.created_at:%H:%M:%S} UTC: {a.outcome or a.status}"
        f"{'; ' + a.reason if a.reason else ''}{'; ' + a.carrier_call_id if a.carrier_call_id else ''}"
        for a in found.attempts
    ]
    lines += [f"  {'allowed' if v.allowed else 'BLOCKED'}  {v.rule}: {v.detail}" for v in verdicts]
    emit({**asdict(found), "verdicts": verdicts}, json, "\n".join(lines))


@app.command()
def cancel(call: Annotated[str, typer.Argument(help="Id of the call.")], json: JsonFlag = False) -> None:
    """Cancel a call: a phone that rings stops, a conversation is ended."""
    from cli.session import open_session
    from cli.show import emit

    with open_session() as session:
        found = session.calls.find(call)
        session.calls.cancel(found.id, session.now)
        found = session.calls.find(found.id)
    emit(found, json, f"Cancelling call {found.id[:8]} to {found.contact_name}")


def _told(call: CallView) -> str:
    journal = f"; journal: orch journal show {call.journal_id[:8]}" if call.journal_id else ""
    return f"call {call.id[:8]} to {call.contact_name} ({call.plan}): {call.state}{' - ' + call.reason if call.reason else ''}{journal}"
