"""How `--help` looks: purpose, examples, arguments, options; drawn here, because rich takes longer than the whole of orch.

A command's text is its docstring: the first paragraph is the purpose, of which a list of commands shows the first sentence; lines
that begin with `orch ` are examples; anything else is explained in between.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from typer._click.core import Command as ClickCommand
    from typer._click.formatting import HelpFormatter
    from typer._click.shell_completion import CompletionItem

WIDTH = 100
_EXAMPLES = re.compile(r"Examples?: (.*)", re.DOTALL)


def parts(text: str) -> tuple[list[str], list[str]]:
    """The paragraphs of a docstring, and its examples."""
    paragraphs: list[str] = []
    examples: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in block.splitlines()]
        said = [line for line in lines if not line.startswith("orch ")]
        examples += [line for line in lines if line.startswith("orch ")]
        joined = " ".join(said)
        listed = _EXAMPLES.search(joined)
        if listed is not None:
            examples += re.findall(r"`(orch [^`]+)`", listed[1])
            after = re.sub(r"^(`orch [^`]+`(, |\.\s*|$))+", "", listed[1]).strip()
            joined = f"{joined[: listed.start()].strip()} {after}".strip()
        if joined:
            paragraphs.append(joined)
    return paragraphs, examples


def summary(text: str) -> str:
    """The first sentence, without its full stop."""
    paragraphs, _ = parts(text)
    first = paragraphs[0] if paragraphs else ""
    return re.split(r"\.(?:\s|$)", first, maxsplit=1)[0]


class Command(TyperCommand):
    def format_help(self, ctx: Any, formatter: HelpFormatter) -> None:
        write_help(self, ctx, formatter, {})


class Group(TyperGroup):
    def format_help(self, ctx: Any, formatter: HelpFormatter) -> None:
        write_help(self, ctx, formatter, {"Commands": list(self.commands)})

    def shell_complete(self, ctx: Any, incomplete: str) -> list[CompletionItem]:
        """Without descriptions: typer would load rich to clean them, a third of a second for every press of the key."""
        found = super().shell_complete(ctx, incomplete)
        for item in found:
            item.help = None
        return found


def root_group(sections: Mapping[str, Iterable[str]]) -> type[Group]:
    """The group of `orch` itself, with its commands in sections by what they are about."""

    class Root(Group):
        def format_help(self, ctx: Any, formatter: HelpFormatter) -> None:
            known = {name for names in sections.values() for name in names}
            others = [name for name in self.commands if name not in known]
            listed = {title: [name for name in names if name in self.commands] for title, names in sections.items()}
            write_help(self, ctx, formatter, listed | {"More": others})

    return Root


def dress(app: typer.Typer) -> None:
    """Give every command and group of `app` this help."""
    for command in app.registered_commands:
        command.cls = Command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            group.cls = Group
            dress(group.typer_instance)


def write_help(command: TyperCommand | TyperGroup, ctx: Any, formatter: HelpFormatter, sections: Mapping[str, Sequence[str]]) -> None:
    from cli.render import colour, columns, styled

    coloured = colour(sys.stdout)
    width = min(formatter.width + 2, WIDTH)
    lines: list[str] = []

    def title(text: str) -> None:
        lines.extend(["", styled(text, "bold", coloured)])

    def listed(rows: Sequence[tuple[str, str]], longest: int) -> None:
        for name, text in rows:
            room = width - longest - 4
            wrapped = textwrap.wrap(text, max(room, 20)) or [""]
            padding = " " * (longest - columns(name))
            if columns(name) > longest:
                lines.append(f"  {styled(name, 'cyan', coloured)}")
                name, padding = "", " " * longest
            lines.append(f"  {styled(name, 'cyan', coloured)}{padding}  {wrapped[0]}".rstrip())
            lines.extend(" " * (longest + 4) + more for more in wrapped[1:])

    paragraphs, examples = parts(command.help or "")
    lines.append(f"{styled('Usage:', 'bold', coloured)} {' '.join([ctx.command_path, *command.collect_usage_pieces(ctx)])}")
    for paragraph in paragraphs:
        lines += ["", *textwrap.wrap(paragraph, width, break_long_words=False, break_on_hyphens=False)]
    if examples:
        title("Examples")
        lines.extend(f"  {example}" for example in examples)
    commands: dict[str, ClickCommand] = getattr(command, "commands", {})
    for heading, names in sections.items():
        shown = [(name, summary(commands[name].help or "")) for name in names if not commands[name].hidden]
        if shown:
            title(heading)
            listed(shown, max(len(name) for name in commands))
    records: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            records["Arguments" if param.param_type_name == "argument" else "Options"].append(record)
    for heading, rows in records.items():
        if rows:
            title(heading)
            listed(rows, min(max(columns(name) for name, _ in rows), 28))
    formatter.write("\n".join(lines) + "\n")
