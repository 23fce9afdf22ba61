"""Plans on disk: one YAML file each, checked when read, with the line of what is wrong."""

from __future__ import annotations

import difflib
import re
import threading
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from core.errors import InvalidInput, NotFound
from core.plans.model import NAME_PATTERN, Plan

# Files of the folder that are not plans.
NOT_PLANS = frozenset({"agents"})
MAX_BYTES = 256 * 1024

Location = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's few plain types. In 1.1, which PyYAML follows, `on:` and a hint `yes` are booleans and `1:30` is ninety."""


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+\.[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])


class PlanLibrary:
    """The plans of one folder. A file changed on disk is read again; threads may share one library."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._read: dict[str, tuple[tuple[int, int], Plan]] = {}

    def names(self) -> list[str]:
        """Every plan there is a file for, correct or not."""
        if not self._folder.is_dir():
            return []
        return sorted(path.stem for path in self._folder.glob("*.yaml") if re.match(NAME_PATTERN, path.stem) and path.stem not in NOT_PLANS)

    def get(self, name: str) -> Plan:
        """The plan called `name`. Raises NotFound with the names there are, or InvalidInput for a faulty file."""
        names = self.names()
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise NotFound(f"no plan {name!r} in {self._folder}: {hint}there {'are' if names else 'is'} {', '.join(names) or 'none'}")
        path = self._folder / f"{name}.yaml"
        stat = path.stat()
        seen = (stat.st_mtime_ns, stat.st_size)
        with self._lock:
            known = self._read.get(name)
            if known is not None and known[0] == seen:
                return known[1]
            plan = self.check_file(path)
            self._read[name] = (seen, plan)
            return plan

    def check_file(self, path: Path) -> Plan:
        """Read one file. Raises NotFound, or InvalidInput `file:line: field: what is wrong` for the first fault in it."""
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise NotFound(f"{path}: cannot be read: {error.strerror or error}") from error
        shown = self._shown(path)
        document = _compose(raw, shown)
        lines: dict[Location, int] = {}
        _note_lines(document, (), lines, shown)
        content = _construct(document, shown)
        try:
            plan = Plan.model_validate(content)
        except ValidationError as error:
            raise InvalidInput(_explain(error, lines, shown)) from None
        if plan.name != path.stem:
            raise InvalidInput(f"{shown}:{lines.get(('name',), 1)}: name: {plan.name!r} must be the file's own name, {path.stem!r}")
        _check_first_sentence(plan, shown, lines)
        return plan

    def _shown(self, path: Path) -> str:
        """Short for a file of the library, so that messages read alike on every machine."""
        try:
            return str(Path(self._folder.name) / path.resolve().relative_to(self._folder.resolve()))
        except ValueError:
            return str(path)


def _compose(raw: bytes, shown: str) -> MappingNode:
    if len(raw) > MAX_BYTES:
        raise InvalidInput(f"{shown}:1: is larger than {MAX_BYTES // 1024} KiB; a plan is a page or two")
    try:
        document = yaml.compose(raw.decode("utf-8"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{shown}:{raw[: error.start].count(10) + 1}: is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InvalidInput(f"{shown}:{mark.line + 1 if mark else 1}: is not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(f"{shown}:1: is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(document, MappingNode):
        raise InvalidInput(f"{shown}:1: a plan is a mapping of name, title, greeting, checkpoints, closing, ...")
    return document


def _note_lines(node: Node, at: Location, lines: dict[Location, int], shown: str) -> None:
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                raise InvalidInput(f"{shown}:{line}: a key must be a plain word")
            if key.value in seen:
                raise InvalidInput(f"{shown}:{line}: {_dotted((*at, key.value))}: stands here twice, first on line {seen[key.value]}")
            seen[key.value] = line
            # A wrong value is reported where its key stands, an unknown key likewise.
            lines[(*at, key.value)] = line
            _note_lines(value, (*at, key.value), lines, shown)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(item, (*at, index), lines, shown)


def _construct(document: MappingNode, shown: str) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_document(document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InvalidInput(f"{shown}:{mark.line + 1 if mark else 1}: {error.problem or error.context}") from None
    finally:
        loader.dispose()


def _explain(error: ValidationError, lines: dict[Location, int], shown: str) -> str:
    faults = []
    for fault in error.errors():
        location: Location = tuple(part for part in fault["loc"] if part != "[key]")
        known = location
        while known and known not in lines:
            known = known[:-1]
        faults.append((lines.get(known, 1), location, _plain(fault["type"], fault["msg"])))
    line, location, message = min(faults, key=lambda found: found[0])
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{shown}:{line}: {_dotted(location) + ': ' if location else ''}{message}{more}"


def _plain(kind: str, message: str) -> str:
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not a known key"
    return message.removeprefix("Value error, ").replace("Input should be", "must be").replace("String should", "must")


def _check_first_sentence(plan: Plan, shown: str, lines: dict[Location, int]) -> None:
    first = re.split(r"(?<=[.!?])\s", plan.greeting, maxsplit=1)[0]
    line = lines.get(("greeting",), 1)
    # 47 CFR 64.1200(b)(1) asks who is responsible for the call at its beginning; several states ask for the second.
    if "{caller}" not in first:
        raise InvalidInput(f"{shown}:{line}: greeting: its first sentence must say who calls: use {{caller}} in it")
    if plan.language.startswith("en") and not re.search(r"\b(automated|artificial|computer|virtual|robot|AI)\b", first, re.IGNORECASE):
        raise InvalidInput(f"{shown}:{line}: greeting: its first sentence must say that this is an automated voice")


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location)
