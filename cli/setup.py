"""orch init."""

from __future__ import annotations

import typer


def register(root: typer.Typer) -> None:
    root.command()(init)


def init() -> None:
    """Create what is missing: folders, keys, the database. Existing keys are never replaced.

    orch init
    """
    from core.bootstrap import initialise
    from core.settings import load_settings

    settings = load_settings()
    done = initialise(settings)
    for line in done:
        typer.echo(line)
    typer.echo(f"orch is ready in {settings.paths.home}. Start it: orch start-all")
