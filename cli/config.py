"""orch config show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from core.environment import Value
    from core.settings import Described

app = typer.Typer(no_args_is_help=True, help="The settings.")


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="config")


@app.command()
def show(
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that are given somewhere.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show every setting. Secrets are shown as ***.

    The environment wins over `.env` in ORCH_HOME, that over the user's own file (~/.config/orch/env), that over the default.
    Names that look like settings and are none are told on stderr, with the nearest one. When a value is wrong, the exit code is 5.

    orch config show --origin
    orch config show --changed
    orch config show --json | jq '.settings[] | select(.origin != "default")'
    """
    from cli.render import note, print_json, print_table
    from core import environment
    from core.settings import described, load_settings, setting_names

    home, given = environment.home_folder(), environment.read()
    settings = [each for each in described(given) if each.given is not None or not changed]
    warnings = [str(each) for each in environment.unknown_names(given, setting_names())]
    if (stray := given.get(environment.HOME_VARIABLE)) is not None and stray.file == environment.project_file(home):
        warnings.append(f"{stray.origin} sets {environment.HOME_VARIABLE} in vain: it is how that file is found; use the environment")
    if as_json:
        files = {"project": str(environment.project_file(home)), "user": str(environment.user_file() or "")}
        print_json({"home": str(home), "files": files, "settings": [_as_object(each) for each in settings], "warnings": warnings})
    elif origin:
        print_table(("SETTING", "VALUE", "FROM"), [(each.name, each.text, _origin(each.given)) for each in settings], {"default": "dim"})
    else:
        print_table(("SETTING", "VALUE"), [(each.name, each.text) for each in settings])
    for warning in warnings:
        note(f"! {warning}", style="yellow")
    # After all was shown: what is wrong is easier to mend when it is seen.
    load_settings()


def _origin(given: Value | None) -> str:
    if given is None:
        return "default"
    return "environment" if given.file is None else f"{given.file}:{given.line}"


def _as_object(each: Described) -> dict[str, Any]:
    return {
        "name": each.name,
        "value": each.text or None,
        "default": each.default or None,
        "origin": "default" if each.given is None else "environment" if each.given.file is None else "file",
        "file": str(each.given.file) if each.given is not None and each.given.file is not None else None,
        "line": each.given.line if each.given is not None else None,
        "description": each.description,
    }
