"""Every command explains itself: purpose, examples, and JSON where something is read."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.main import get_command

from cli.help import parts, summary
from cli.main import COMMAND_MODULES, application, overview

# What a command is called that shows something and changes nothing.
READING = {"status", "logs", "jobs", "list", "show", "check", "doctor", "why"}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    commands = getattr(command, "commands", None)
    if not commands:
        yield " ".join(path), command
    for name, each in (commands or {}).items():
        yield from leaves(each, (*path, name))


ALL = dict(leaves(get_command(application())))


def test_there_are_commands() -> None:
    assert {"start-all", "status", "logs", "contact add", "config show"} <= ALL.keys()


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_a_purpose_and_examples(name: str) -> None:
    paragraphs, examples = parts(ALL[name].help or "")
    assert paragraphs
    assert len(paragraphs[0]) > 10
    assert any(example.startswith(f"orch {name}") for example in examples), f"orch {name} shows no example of itself"


@pytest.mark.parametrize("name", ALL)
def test_every_option_and_argument_is_explained(name: str) -> None:
    for param in ALL[name].params:
        if not getattr(param, "hidden", False) and param.name not in {"limit", "help"}:
            assert param.help or name == "trigger", f"orch {name}: {param.name} is not explained"


@pytest.mark.parametrize("name", [name for name in ALL if name.split()[-1] in READING])
def test_every_command_that_reads_has_json(name: str) -> None:
    assert any("--json" in param.opts for param in ALL[name].params)


@pytest.mark.parametrize("name", ALL)
def test_the_options_of_the_examples_exist(name: str) -> None:
    known = {option for param in ALL[name].params for option in param.opts} | {"-h", "--help"}
    for example in parts(ALL[name].help or "")[1]:
        if not example.startswith(f"orch {name}"):
            continue  # what one does next, or before
        words = shlex.split(example.partition(" | ")[0].partition(" > ")[0])
        used = {word.partition("=")[0] for word in words if word.startswith("-") and len(word) > 1}
        assert used <= known, f"{example!r}: {used - known}"


def test_each_command_is_where_the_quick_way_looks_for_it() -> None:
    for name, module in COMMAND_MODULES.items():
        app = typer.Typer()
        importlib.import_module(module).register(app)
        registered = {each.name or (each.callback.__name__ if each.callback else "") for each in app.registered_commands}
        registered |= {str(group.name) for group in app.registered_groups}
        assert name in registered, f"{module} has no {name}"
        assert registered <= COMMAND_MODULES.keys()


def test_one_command_is_loaded_without_the_others() -> None:
    assert set(get_command(application("logs")).commands) == {"logs"}  # type: ignore[attr-defined]
    assert "logs" in get_command(application("no-such-command")).commands  # type: ignore[attr-defined]


def test_the_overview_lists_what_there_is_with_the_same_texts() -> None:
    whole: Any = get_command(application())
    brief: Any = overview(application())
    assert set(brief.commands) == set(whole.commands)
    for name, command in whole.commands.items():
        assert summary(brief.commands[name].help or "") == summary(command.help or "")


@pytest.mark.parametrize(
    ("text", "paragraphs", "examples"),
    [
        ("Do it. Well.\n\norch do it\norch do --well", ["Do it. Well."], ["orch do it", "orch do --well"]),
        ("Do it.\n\nExamples: `orch a`, `orch b --c`. More is said.", ["Do it.", "More is said."], ["orch a", "orch b --c"]),
        ("Do it\nin two lines.\n\n    orch x | jq .y", ["Do it in two lines."], ["orch x | jq .y"]),
        ("", [], []),
    ],
)
def test_a_docstring_is_taken_apart(text: str, paragraphs: list[str], examples: list[str]) -> None:
    assert parts(text) == (paragraphs, examples)


def test_a_summary_is_the_first_sentence() -> None:
    assert summary("Show v1.2 of it. And more.\n\nElse.") == "Show v1.2 of it"
