"""orch pause | resume: the kill switch."""

from __future__ import annotations

from typing import Annotated

import typer


def register(root: typer.Typer) -> None:
    root.command()(pause)
    root.command()(resume)


def pause(reason: Annotated[str, typer.Option(help="Shown by `orch status` and in verdicts.")] = "paused by hand") -> None:
    """Stop all dialling at once. Phones that ring stop ringing; conversations go on.

    orch pause
    orch pause --reason "carrier is in trouble"
    """
    from cli.session import open_session
    from core.domain.contacts import clean_remark

    why = clean_remark(reason, "reason") or "paused by hand"
    with open_session() as session:
        changed = session.control.pause(why, session.now)
    typer.echo("Dialling is paused. `orch resume` goes on." if changed else "Dialling was paused already.")


def resume() -> None:
    """Dial again.

    orch resume
    """
    from cli.session import open_session

    with open_session() as session:
        changed = session.control.resume(session.now)
    typer.echo("Dialling goes on." if changed else "Dialling was not paused.")
