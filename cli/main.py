"""The `orch` command. This module imports typer only; each command imports what it needs inside its body."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated

import typer

from cli import exits
from core.errors import OrchError

# Each module has `register(app)`, and is light to import. Their order is the order of `orch --help`.
COMMAND_MODULES = (
    "cli.daemon",
    "cli.status",
    "cli.logs",
    "cli.jobs",
    "cli.setup",
    "cli.demo",
    "cli.contacts",
    "cli.windows",
    "cli.calls",
    "cli.dialling",
    "cli.plans",
    "cli.journal",
    "cli.recordings",
)

app = typer.Typer(
    name="orch",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    import platform
    from importlib.metadata import version

    from core.settings import load_settings

    address = load_settings().database_url
    scheme, _, rest = address.partition("://")
    _credentials, at, place = rest.rpartition("@")
    typer.echo(f"orch {version('orch')}, Python {platform.python_version()}, database {scheme}://{'***@' if at else ''}{place}")
    raise typer.Exit


@app.callback()
def _options(
    no_color: Annotated[bool, typer.Option("--no-color", help="Write without colour, whatever the terminal can do.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print version, Python and database.")
    ] = False,
) -> None:
    """Calls people at the times they chose, talks with them, follows up.

    First: `orch start-all --demo`. Then: `orch status`, `orch logs -f`, `orch contact add`, `orch window add`.
    """
    if no_color:
        from cli.render import forbid_color

        forbid_color()


def _register_commands() -> None:
    for name in COMMAND_MODULES:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            continue  # a group that this version does not have
        module.register(app)


def main() -> int:
    """Entry point. Every expected error is one line on stderr and its exit code."""
    # Databases, keys and exports are nobody else's business, whichever command makes them.
    os.umask(0o077)
    try:
        _register_commands()
        app()
    except OrchError as error:
        sys.stdout.flush()
        sys.stderr.write(f"orch: {error}\n")
        return exits.code_of(error)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else exits.FAILED if end.code else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
