"""orch doctor."""

from __future__ import annotations

from typing import Annotated

import typer


def register(root: typer.Typer) -> None:
    root.command()(doctor)


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what is chosen, what is missing, and how to get it. Changes nothing, and needs no daemon.

    Exit code: 0 all is well or only doubtful, 1 something fails.

    orch doctor
    orch doctor --json | jq '.checks[] | select(.state != "ok")'
    """
    from datetime import UTC, datetime

    from cli.render import print_json, print_table, say
    from core.environment import home_folder
    from core.logs import silence
    from workers.doctor import diagnose
    from workers.findings import State

    silence()
    found = diagnose(datetime.now(UTC), home_folder())
    if json:
        print_json(
            {
                "ok": found.is_well,
                "chosen": {each.part: {"chosen": each.chosen, "otherwise": each.otherwise} for each in found.choices},
                "checks": [{"check": each.check, "state": each.state, "detail": each.detail, "hint": each.hint} for each in found.findings],
            }
        )
    else:
        if found.choices:
            print_table(("PART", "CHOSEN", "OR"), [(each.part, each.chosen, each.otherwise) for each in found.choices])
            say("")
        styles = {State.OK: "green", State.WARN: "yellow", State.FAIL: "bold red"}
        width = max(len(each.check) for each in found.findings)
        for each in found.findings:
            say(f"{each.state:4}  {each.check:{width}}  {each.detail}", style="" if each.state is State.OK else styles[each.state])
            if each.hint:
                say(f"{'':4}  {'':{width}}  -> {each.hint}")
    if not found.is_well:
        raise typer.Exit(1)
