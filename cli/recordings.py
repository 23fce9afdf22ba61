"""orch recording export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.completion import complete_call

app = typer.Typer(no_args_is_help=True, help="Recorded calls.")


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="recording")


@app.command()
def export(
    call: Annotated[str, typer.Argument(help="Id of the call or of an attempt.", autocompletion=complete_call)],
    file: Annotated[Path, typer.Argument(help="Where the WAV file goes.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Decrypt a call's recording into a stereo WAV file: the contact left, orch right.

    orch recording export 3f2a91c0 call.wav
    """
    from cli.session import open_session
    from core.bootstrap import export_recording

    with open_session() as session:
        found = session.calls.find(call)
        seconds = export_recording(session.settings, session.conversations, found, file, overwrite=force)
    typer.echo(f"Wrote {seconds:.1f} s to {file}")
