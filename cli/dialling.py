"""orch pause | resume: the kill switch."""

from __future__ import annotations

from typing import Annotated

import typer


def register(root: typer.Typer) -> None:
    root.command()(pause)
    root.command()(resume)


def pause(reason: Annotated[str, typer.Option(help="Shown by `orch status` and in verdicts.")] = "paused by hand") -> None:
    """Stop all dialling at once. Phones that ring stop ringing; conversations go on."""
    from cli.session import open_session

    with open_session() as session:
        changed = session.control.pause(reason, session.now)
    typer.echo("Dialling is paused. `orch resume` goes on." if changed else "Dialling was paused already.")


def resume() -> None:
    """Dial again."""
    from cli.session import open_session

    with open_session() as session:
        changed = session.control.resume(session.now)
    typer.echo("Dialling goes on." if changed else "Dialling was not paused.")
