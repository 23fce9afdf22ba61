"""orch call now | list | show | cancel | resolve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import complete_call, complete_contact, complete_plan

if TYPE_CHECKING:
    from cli.session import Session
    from core.calls.preview import Preview
    from core.storage.calls import CallView, EventView
    from core.storage.contacts import ContactView

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(no_args_is_help=True, help="Calls: made, waiting, over.")


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="call")


@app.command()
def now(
    contact: Annotated[str, typer.Argument(help="Id, number or name.", autocompletion=complete_contact)],
    plan: Annotated[str | None, typer.Option(help="Plan of this call.", autocompletion=complete_plan)] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the call is over.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every rule's verdict, and call nobody.")] = False,
    json: JsonFlag = False,
) -> None:
    """Call a contact outside any window. Every rule holds for this call, too.

    Exit code of --dry-run: 0 the contact would be dialled now, 1 not now. Of --wait: 0 talked with or missed, 1 anything else.

    orch call now Ada --dry-run
    orch call now Ada --wait
    """
    import time
    import uuid

    from cli.session import open_session
    from cli.show import emit
    from core.errors import InvalidInput

    if dry_run and wait:
        raise InvalidInput("--dry-run calls nobody, so there is nothing to --wait for; leave one of them out")
    with open_session() as session:
        person = session.contacts.find(contact)
        chosen = session.plans.get(plan or person.plan or session.settings.conversations.default_plan)
        if dry_run:
            would = _dry_run(session, person, chosen.name, json=json)
            raise typer.Exit(0 if would else 1)
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
    contact: Annotated[str | None, typer.Option(help="Only this contact's: id, number or name.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only calls made since then: 2h, 3d, 2026-12-01.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    json: JsonFlag = False,
) -> None:
    """List calls, the newest first.

    orch call list --contact Ada --since 7d
    orch call list --state unresolved --state failed
    """
    from datetime import UTC, datetime

    from cli.logquery import instant
    from cli.session import open_session
    from cli.show import local, table
    from core.domain.calls import CallState
    from core.errors import InvalidInput

    known = [each.value for each in CallState]
    for wanted in state or []:
        if wanted not in known:
            raise InvalidInput(f"no call is ever {wanted!r}; states: {', '.join(known)}")
    after = instant(since, "--since", datetime.now(UTC)) if since is not None else None
    with open_session() as session:
        contact_id = session.contacts.find(contact).id if contact is not None else None
        calls = session.calls.recent(contact_id=contact_id, states=state, since=after, limit=limit)
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
        empty="No such calls."
        if state or contact or since
        else "No calls yet. Add a window (orch window add) or call somebody now (orch call now).",
    )


@app.command()
def show(
    call: Annotated[str, typer.Argument(help="Id of the call, of an attempt, or of the carrier's call.", autocompletion=complete_call)],
    json: JsonFlag = False,
) -> None:
    """Show one call: attempts, verdicts, what its run did, journal.

    orch call show 3f2a91c0
    orch call show CA0123456789abcdef0123456789abcdef --json
    """
    from dataclasses import asdict

    from cli.session import open_session
    from cli.show import emit

    with open_session() as session:
        found = session.calls.find(call)
        verdicts = session.calls.verdicts(found.id)
        events = session.calls.events(found.id)
    lines = [_told(found)]
    lines += [
        f"  attempt {a.ordinal} ({a.id[:8]}, {a.mode}) {a.created_at:%H:%M:%S} UTC: {a.outcome or a.status}"
        f"{'; ' + a.reason if a.reason else ''}{'; ' + a.carrier_call_id if a.carrier_call_id else ''}"
        f"{'; settled by hand' if a.resolved_by else ''}"
        for a in found.attempts
    ]
    lines += [f"  {'allowed' if v.allowed else 'BLOCKED'}  {v.rule}: {v.detail}" for v in verdicts]
    lines += [f"  {e.at:%Y-%m-%d %H:%M:%S} UTC  {_told_event(e)}" for e in events]
    if found.state == "unresolved":
        lines.append(f"  Look at the carrier's console whether the phone rang, then: orch call resolve {found.id[:8]} --as no_answer")
    emit({**asdict(found), "verdicts": verdicts, "events": events}, json, "\n".join(lines))


@app.command()
def cancel(call: Annotated[str, typer.Argument(help="Id of the call.", autocompletion=complete_call)], json: JsonFlag = False) -> None:
    """Cancel a call: a phone that rings stops, a conversation is ended.

    orch call cancel 3f2a91c0
    """
    from cli.session import open_session
    from cli.show import emit

    with open_session() as session:
        found = session.calls.find(call)
        session.calls.cancel(found.id, session.now)
        found = session.calls.find(found.id)
    emit(found, json, f"Cancelling call {found.id[:8]} to {found.contact_name}")


@app.command("resolve")
def resolve_(
    call: Annotated[str, typer.Argument(help="Id of the call, of an attempt, or of the carrier's call.", autocompletion=complete_call)],
    as_: Annotated[
        str, typer.Option("--as", metavar="OUTCOME", help="answered, hung_up_early, voicemail, no_answer, busy or never_placed.")
    ],
    note: Annotated[str | None, typer.Option(help="What you saw, and where; kept, encrypted, with the call.")] = None,
    json: JsonFlag = False,
) -> None:
    """Settle an unresolved call: say what the carrier's console shows about it.

    Its number may be called again then. The call itself is over: nothing is dialled because of it. Should the carrier report
    later that the call was placed after all, that counts instead.

    orch call resolve 3f2a91c0 --as never_placed --note "not in Twilio's log of 21 November"
    """
    import os
    import pwd

    from cli.session import open_session
    from cli.show import emit
    from core.calls.resolve import Found, resolve_call
    from core.errors import InvalidInput
    from core.logs import silence

    try:
        outcome = Found(as_)
    except ValueError:
        raise InvalidInput(f"--as {as_!r} is not an outcome; it must be {', '.join(Found)}") from None
    try:
        by = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        by = f"user {os.getuid()}"
    silence()
    with open_session() as session:
        found = session.calls.find(call)
        resolve_call(session.database, session.settlement, found.id, outcome, by=by, note=note, now=session.now)
        found = session.calls.find(found.id)
    emit(found, json, f"{_told(found)}\nIts number may be called again.")


def _dry_run(session: Session, person: ContactView, plan: str, *, json: bool) -> bool:
    """Show what would become of the call. True: it would be dialled now."""
    from cli.show import emit
    from core.bootstrap import dial_rules, public_addresses
    from core.calls.preview import Conclusion, preview_call
    from core.domain.calls import FINAL_CALL_STATES, CallState

    open_states = [state for state in CallState if state not in FINAL_CALL_STATES]
    others = session.calls.recent(contact_id=person.id, states=open_states, limit=1)
    settings = session.settings
    public = public_addresses(settings)
    preview = preview_call(session.database, dial_rules(settings), public, person.id, plan, simulated=settings.simulated, now=session.now)
    would = preview.conclusion is Conclusion.DIAL_NOW and not others
    lines = [f"{'allowed' if v.allowed else 'BLOCKED'}  {v.rule:15} {v.detail}" for v in preview.verdicts]
    lines.append(_concluded(preview, person))
    if others:
        lines.append(f"`orch call now` would refuse: {person.name} has an open call already ({others[0].id[:8]}, {others[0].state})")
    answer = {
        "contact_id": person.id,
        "plan": plan,
        "would_dial": would,
        "conclusion": preview.conclusion,
        "wait_until": preview.wait_until,
        "wait_for": preview.wait_for,
        "ring_until": preview.ring_until,
        "open_call": others[0].id if others else None,
        "verdicts": preview.verdicts,
    }
    emit(answer, json, "\n".join(lines))
    return would


_ENDS = {
    "kill_switch": "dialling is resumed (orch resume)",
    "contact": "the contact is resumed (orch contact resume)",
    "open_attempt": "the other attempt at this number is over",
    "public_url": "our public URL answers",
    "clock": "the clocks agree",
    "concurrency": "a line is free",
    "last_words": "what was said at this number is in the database",
    "carrier_health": "the carrier takes calls again",
}


def _concluded(preview: Preview, person: ContactView) -> str:
    from cli.show import local
    from core.calls.preview import Conclusion

    if preview.conclusion is Conclusion.DIAL_NOW:
        return f"Would dial now, and let it ring until {local(preview.ring_until, person.timezone)} at the latest."
    if preview.conclusion is Conclusion.NEVER:
        return f"Would never dial: {'; '.join(verdict.detail for verdict in preview.blocked)}."
    ends = [f"until {local(preview.wait_until, person.timezone)}"] if preview.wait_until is not None else []
    ends += [f"until {_ENDS.get(rule, rule)}" for rule in preview.wait_for]
    return f"Would wait {', and '.join(ends)}."


def _told_event(event: EventView) -> str:
    """`resolved as=busy by=ada`: a line may not be broken by a note."""
    return " ".join([event.kind, *(f"{key}={value}" for key, value in event.detail.items() if value is not None)])


def _told(call: CallView) -> str:
    journal = f"; journal: orch journal show {call.journal_id[:8]}" if call.journal_id else ""
    return f"call {call.id[:8]} to {call.contact_name} ({call.plan}): {call.state}{' - ' + call.reason if call.reason else ''}{journal}"
