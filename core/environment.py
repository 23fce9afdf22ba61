"""The environment and the files that stand beside it, read in one place, by the standard library alone.

Three layers, the first that has a name wins: the environment, `.env` in ORCH_HOME, `~/.config/orch/env` of the user. An empty
value counts as not given. A file is lines of `NAME=value`; `#` begins a comment, `export` before a name is ignored, and a value may
be quoted. Nothing is substituted inside a value, so that a password may hold a `$`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import SettingsError

CHECKOUT = Path(__file__).resolve().parent.parent
HOME_VARIABLE = "ORCH_HOME"
DEBUG_VARIABLE = "ORCH_DEBUG"

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_QUOTED = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|'([^']*)')\s*(?:#.*)?""")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True, slots=True)
class Value:
    """What a name was given, and where: `file` is None for the environment itself."""

    # Not in the repr: it may be a secret.
    text: str = field(repr=False)
    file: Path | None = None
    line: int | None = None

    @property
    def origin(self) -> str:
        return "the environment" if self.file is None else f"{self.file} line {self.line}"


def home_folder() -> Path:
    """ORCH_HOME of the environment or of the user's file, else the checkout. Raises nothing, whatever the file holds."""
    given = os.environ.get(HOME_VARIABLE)
    user = user_file()
    if not given and user is not None:
        try:
            found, _ = parse(user.read_text(encoding="utf-8"), user)
        except (OSError, UnicodeDecodeError):
            found = {}
        given = found[HOME_VARIABLE].text if HOME_VARIABLE in found else None
    return Path(given or CHECKOUT).expanduser().resolve()


def settle_home() -> Path:
    """`home_folder`, written back into the environment: workers are started from another folder and must find the same one."""
    home = home_folder()
    os.environ[HOME_VARIABLE] = str(home)
    return home


def project_file(home: Path) -> Path:
    return home / ".env"


def user_file() -> Path | None:
    """`$XDG_CONFIG_HOME/orch/env`, by default in `~/.config`; None for a user without a home."""
    given = os.environ.get("XDG_CONFIG_HOME")
    try:
        # A relative path is to be ignored, says the XDG base directory specification.
        folder = Path(given) if given and Path(given).is_absolute() else Path.home() / ".config"
    except RuntimeError:
        return None
    return folder / "orch" / "env"


def read() -> dict[str, Value]:
    """Everything that is given, by name in capitals. Raises SettingsError for a file that cannot be read or understood."""
    found: dict[str, Value] = {}
    for path in (user_file(), project_file(home_folder())):
        if path is not None:
            found.update(_read_file(path))
    # The exact name last, so that it wins over the same one in small letters.
    for name in sorted(os.environ, key=str.isupper):
        text = os.environ[name]
        if text:
            found[name.upper()] = Value(text)
    return found


def _read_file(path: Path) -> dict[str, Value]:
    if not path.is_file():
        return {}
    try:
        found, wrong = parse(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text (byte {error.start}); write it anew, starting from .env.example") from error
    if wrong:
        raise SettingsError(f"{path} line {wrong[0]} is not understood; it must be NAME=value, a comment, or empty")
    return found


def parse(text: str, path: Path) -> tuple[dict[str, Value], list[int]]:
    """The values of a file, the last one of a name winning, and the numbers of lines that are no `NAME=value`."""
    found: dict[str, Value] = {}
    wrong: list[int] = []
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        value = _unquoted(match[2]) if match else None
        if match is None or value is None:
            wrong.append(number)
        elif value:
            found[match[1].upper()] = Value(value, path, number)
        else:
            found.pop(match[1].upper(), None)
    return found, wrong


def _unquoted(text: str) -> str | None:
    if text[:1] in {'"', "'"}:
        match = _QUOTED.fullmatch(text)
        if match is None:
            return None
        if match[2] is not None:
            return match[2]
        return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), match[1])
    # A comment begins after a space: `#` inside a password or a URL is part of it.
    return re.split(r"(?:^|\s+)#", text, maxsplit=1)[0].rstrip()


@dataclass(frozen=True, slots=True)
class Unknown:
    """A name that looks like a setting and is none; `nearest` is the setting that may have been meant."""

    name: str
    value: Value
    nearest: str | None

    def __str__(self) -> str:
        hint = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.name} in {self.value.origin} is not a setting{hint}"


def unknown_names(given: Mapping[str, Value], settings: list[str]) -> list[Unknown]:
    """Names of ours that no setting has, and names in our files that are nearly a setting's. By name."""
    import difflib

    found = []
    for name, value in sorted(given.items()):
        if name in settings or name == DEBUG_VARIABLE:
            continue
        ours = name.startswith("ORCH_")
        near = difflib.get_close_matches(name, settings, n=1, cutoff=0.6 if ours else 0.85)
        # Other programs' names are their own business, even in our file.
        if ours or (value.file is not None and near):
            found.append(Unknown(name, value, near[0] if near else None))
    return found


# What the command line asks the environment beside settings.


def debugging() -> bool:
    """Whether ORCH_DEBUG asks for tracebacks."""
    return _is_on(DEBUG_VARIABLE)


def colour_wish() -> bool | None:
    """False for NO_COLOR, True for FORCE_COLOR, False for TERM=dumb; None when nothing is said, in this order."""
    if os.environ.get("NO_COLOR"):
        return False
    if _is_on("FORCE_COLOR"):
        return True
    return False if os.environ.get("TERM") == "dumb" else None


def forces_terminal() -> bool:
    """Whether FORCE_COLOR asks to write as if for a terminal."""
    return _is_on("FORCE_COLOR")


def dumb_terminal() -> bool:
    return os.environ.get("TERM", "dumb") in {"dumb", ""}


def completing() -> bool:
    """Whether a shell runs us for the sake of completion."""
    return bool(os.environ.get("_ORCH_COMPLETE"))


def _is_on(name: str) -> bool:
    return os.environ.get(name, "") not in {"", "0", "false"}
