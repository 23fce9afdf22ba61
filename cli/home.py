"""Where the running daemon is found, and that the settings were looked at before.

A wrong setting stops every command. Checking all of them costs more than most commands do, so a check that passed leaves a digest
of all it looked at in `run/`; while that is the same, the commands that need no setting but ORCH_HOME do not check again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core import environment
from core.environment import CHECKOUT, Value
from core.errors import SettingsError

CHECKED_NAME = "settings.checked"
# What decides whether a setting is right. Read as text: to import them is what is to be saved.
_RULES = (CHECKOUT / "core" / "settings.py", CHECKOUT / "core" / "environment.py")


def run_folder() -> Path:
    """Raises SettingsError: a wrong setting stops every command but `stop-all`."""
    return _checked_home() / "run"


def run_folder_anyway() -> Path:
    """For stopping: a wrong setting must not keep anybody from ending the calls."""
    from cli.render import error_line

    try:
        return run_folder()
    except SettingsError as error:
        error_line(str(error))
        return environment.home_folder() / "run"


def log_folder() -> Path:
    """Raises SettingsError."""
    return _checked_home() / "logs"


def _checked_home() -> Path:
    home, given = environment.home_folder(), environment.read()
    checked = home / "run" / CHECKED_NAME
    if not was_checked(checked, given):
        from core.settings import load_settings, setting_names

        load_settings()
        remember_checked(checked, given, setting_names())
    return home


def was_checked(file: Path, given: Mapping[str, Value]) -> bool:
    """Whether `remember_checked` was told exactly this, by this version of the rules."""
    try:
        seen = json.loads(file.read_text(encoding="ascii"))
        return bool(seen["digest"] == _digest(bytes.fromhex(seen["salt"]), seen["names"], given))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def remember_checked(file: Path, given: Mapping[str, Value], names: Sequence[str]) -> None:
    """Write down that the settings `names` are right as they are given. Where that is impossible the next command checks again."""
    salt = secrets.token_bytes(32)
    seen = {"salt": salt.hex(), "names": list(names), "digest": _digest(salt, names, given)}
    # A command that only looks makes no folder, and two of them may look at once.
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        try:
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w", encoding="ascii") as made:
                json.dump(seen, made)
            partial.replace(file)
        except OSError:
            partial.unlink(missing_ok=True)


def _digest(salt: bytes, names: Sequence[str], given: Mapping[str, Value]) -> str:
    """No value can be read back from it, and the salt keeps likely ones from being tried in bulk."""
    found = hashlib.sha256(salt)
    for rules in _RULES:
        found.update(hashlib.sha256(rules.read_bytes()).digest())
    values = [[name, given[name].text] for name in sorted(names) if name in given]
    found.update(json.dumps([sys.version, values]).encode())
    return found.hexdigest()
