"""The `orch` command. This module imports typer only; each command imports what it needs inside its body."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from cli import exits
from cli.help import WIDTH, Command, dress, root_group
from cli.render import colour, error_line, forbid_color
from core import environment
from core.errors import OrchError

# What `orch --help` lists, and the module that has it: its `register(app)` is called when the command is wanted.
COMMANDS: dict[str, dict[str, str]] = {
    "Daemon": {
        "start-all": "cli.daemon",
        "stop-all": "cli.daemon",
        "status": "cli.status",
        "logs": "cli.logs",
        "start": "cli.worker",
        "stop": "cli.worker",
        "restart": "cli.worker",
        "drain": "cli.worker",
        "reload": "cli.worker",
        "jobs": "cli.jobs",
        "trigger": "cli.jobs",
    },
    "People and calls": {
        "contact": "cli.contacts",
        "window": "cli.windows",
        "call": "cli.calls",
        "pause": "cli.dialling",
        "resume": "cli.dialling",
        "journal": "cli.journal",
        "recording": "cli.recordings",
        "plan": "cli.plans",
    },
    "Setting up, and trying": {
        "init": "cli.setup",
        "config": "cli.config",
        "doctor": "cli.doctor",
        "demo": "cli.demo",
        "phone": "cli.phone",
    },
}
_HELP = frozenset({"-h", "--help"})
COMMAND_MODULES = {name: module for section in COMMANDS.values() for name, module in section.items()}


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    import platform
    from importlib.metadata import version

    from core.settings import load_settings, without_password

    address = without_password(load_settings().database_url)
    typer.echo(f"orch {version('orch')}, Python {platform.python_version()}, database {address}")
    raise typer.Exit


def options(
    # Read from the arguments by `main`, because it counts wherever it stands; here for the help.
    _no_color: Annotated[bool, typer.Option("--no-color", help="Write without colour, whatever the terminal can do.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print version, Python and database.")
    ] = False,
) -> None:
    """Calls people at the times they chose, talks with them, follows up.

    orch start-all --demo
    orch status
    orch logs --follow
    orch contact add --name Ada --phone +12025550123 --timezone America/New_York
    orch window add Ada --days mon-fri --start 08:00 --end 09:00
    """


def application(wanted: str | None = None) -> typer.Typer:
    """The commands: all of them, or, to be quick, only those of the module that has the command `wanted`."""
    app = typer.Typer(
        name="orch",
        cls=root_group(COMMANDS),
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH},
    )
    app.callback()(options)
    modules = [COMMAND_MODULES[wanted]] if wanted in COMMAND_MODULES else dict.fromkeys(COMMAND_MODULES.values())
    for name in modules:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            continue  # a group that this version does not have
        module.register(app)
    dress(app)
    return app


def overview(app: typer.Typer) -> Any:
    """`orch --help` alone: commands with their texts. To build all their options as well would take as long as the rest together."""
    listed = []
    for command in app.registered_commands:
        if command.callback is not None:
            name = command.name or command.callback.__name__.replace("_", "-")
            listed.append(Command(name, help=inspect.getdoc(command.callback), hidden=command.hidden))
    for group in app.registered_groups:
        text = group.typer_instance.info.help if group.typer_instance is not None else None
        listed.append(Command(group.name, help=text if isinstance(text, str) else None))
    app.registered_commands, app.registered_groups = [], []
    root: Any = get_command(app)
    for each in listed:
        root.add_command(each)
    return root


def main() -> int:
    """Entry point. Every expected error is one line on stderr and its exit code."""
    # Databases, keys and exports are nobody else's business, whichever command makes them.
    os.umask(0o077)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a name's letters must not stop the command.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    words = _without_colour_option(sys.argv[1:])
    wanted = next((word for word in words if not word.startswith("-")), None)
    try:
        code = _run(words, wanted)
        # Here rather than at the interpreter's end, which could only complain that nobody reads.
        sys.stdout.flush()
    except BrokenPipeError as error:
        code = _unexpected(error, wanted)
    return code


def _without_colour_option(words: Sequence[str]) -> list[str]:
    ours = words[: words.index("--")] if "--" in words else words
    if "--no-color" in ours:
        forbid_color()
    return [word for word in ours if word != "--no-color"] + list(words[len(ours) :])


def _run(words: list[str], wanted: str | None) -> int:
    completing = environment.completing()
    try:
        app = application(None if completing else wanted)
        command = overview(app) if _HELP.issuperset(words) and not completing else get_command(app)
        code = command.main(args=words, prog_name="orch", standalone_mode=False, color=colour(sys.stdout))
        return code if isinstance(code, int) else 0
    except OrchError as error:
        sys.stdout.flush()
        error_line(str(error))
        return exits.code_of(error)
    except typer.TyperException as error:
        return _misused(error)
    except typer.Abort:
        error_line("nothing was done")
        return exits.FAILED
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else exits.FAILED if end.code else 0
        return _unexpected(None, wanted) if code and _reader_gone() else code
    except Exception as error:  # noqa: BLE001
        # Nobody completes a word with a traceback.
        return exits.FAILED if completing else _unexpected(error, wanted)


def _misused(error: typer.TyperException) -> int:
    from cli.failures import usage_line

    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{error.format_message()}\n")
    else:
        error_line(usage_line(error))
    return exits.USAGE


def _reader_gone() -> bool:
    from cli.failures import reader_gone

    return reader_gone()


def _unexpected(error: BaseException | None, command: str | None) -> int:
    from cli import failures

    if error is None or (isinstance(error, BrokenPipeError) and failures.reader_gone()):
        return failures.READER_GONE
    failures.unexpected(error, command if command in COMMAND_MODULES else "")
    return exits.FAILED


if __name__ == "__main__":
    sys.exit(main())
