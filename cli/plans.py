"""orch plan list | show | check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.completion import complete_plan

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(no_args_is_help=True, help="Conversation plans.")


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="plan")


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the plans.

    orch plan list
    orch plan list --json | jq '.[].name'
    """
    from cli.show import table
    from core.bootstrap import plan_library
    from core.settings import load_settings

    library = plan_library(load_settings())
    table(
        [library.get(name) for name in library.names()],
        json,
        {"NAME": lambda p: p.name, "TITLE": lambda p: p.title, "CHECKPOINTS": lambda p: str(len(p.checkpoints))},
        empty="No plans.",
    )


@app.command()
def show(plan: Annotated[str, typer.Argument(help="Name of the plan.", autocompletion=complete_plan)], json: JsonFlag = False) -> None:
    """Show what a plan says and asks.

    orch plan show daily-reflection
    """
    from cli.show import emit
    from core.bootstrap import plan_library
    from core.settings import load_settings

    found = plan_library(load_settings()).get(plan)
    lines = [f"{found.name}: {found.title}", f"  greeting: {found.greeting}"]
    lines += [f"  {point.id} ({point.complete_when.kind}): {point.prompt}" for point in found.checkpoints]
    lines.append(f"  closing: {found.closing}")
    emit(found.model_dump(mode="json"), json, "\n".join(lines))


@app.command()
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Plan files; default: all of the plans folder.")] = None,
    json: JsonFlag = False,
) -> None:
    """Check plan files. Every faulty file is named, with the line.

    orch plan check
    orch plan check new-plan.yaml
    """
    from cli.render import print_json
    from core.bootstrap import plan_library
    from core.errors import OrchError
    from core.settings import load_settings

    settings = load_settings()
    library = plan_library(settings)
    found: list[dict[str, str | None]] = []
    for path in files or sorted(settings.paths.plans_dir.glob("*.yaml")):
        try:
            found.append({"file": str(path), "plan": library.check_file(path).name, "error": None})
        except OrchError as error:
            found.append({"file": str(path), "plan": None, "error": str(error)})
    if json:
        print_json(found)
    else:
        for each in found:
            if each["error"] is None:
                typer.echo(f"{each['file']}: {each['plan']} is correct")
            else:
                typer.echo(each["error"], err=True)
    if any(each["error"] for each in found):
        raise typer.Exit(1)
