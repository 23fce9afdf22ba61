"""Writes .env.example and docs/settings.md from core/settings.py; with --check, fails if they are out of date."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from core.settings import GROUPS, default_text

ROOT = Path(__file__).resolve().parent.parent


def fields() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Each group's purpose, and its settings: variable, default, description."""
    for group in GROUPS.values():
        purpose = (group.__doc__ or "").strip().splitlines()[0]
        yield purpose, [(str(f.validation_alias), default_text(f), f.description or "") for f in group.model_fields.values()]


def env_example() -> str:
    lines = [
        "# Every setting of orch with its default. Copy to .env (in ORCH_HOME) and uncomment what you change.",
        "# A variable of the same name in the environment wins; ~/.config/orch/env holds what all installations of yours share.",
        "# Generated: python scripts/settings_docs.py",
    ]
    for purpose, settings in fields():
        lines += ["", f"# --- {purpose}"]
        for variable, default, description in settings:
            lines += [f"# {description}", f"#{variable}={default}"]
    return "\n".join(lines) + "\n"


def markdown() -> str:
    lines = [
        "# Settings",
        "",
        "Read from the environment, then from `.env` in `ORCH_HOME`, then from `~/.config/orch/env`: the first that has a name wins, and",
        "`orch config show --origin` says which did. A wrong value stops every command with one line that names the setting, the value",
        "and what is allowed. Generated from `core/settings.py` by `python scripts/settings_docs.py`.",
    ]
    for purpose, settings in fields():
        lines += ["", f"## {purpose}", "", "| setting | default | meaning |", "| --- | --- | --- |"]
        for variable, default, description in settings:
            shown = f"`{default}`" if default else "not set"
            lines.append(f"| `{variable}` | {shown} | {description} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    wanted = {ROOT / ".env.example": env_example(), ROOT / "docs" / "settings.md": markdown()}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.name} is out of date; run: python scripts/settings_docs.py", file=sys.stderr)  # noqa: T201
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
