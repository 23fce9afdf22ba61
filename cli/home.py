"""Where the running daemon is found."""

from __future__ import annotations

from pathlib import Path

from core.errors import SettingsError


def run_folder() -> Path:
    """Raises SettingsError: a wrong setting stops every command but `stop-all`."""
    from core.settings import load_settings

    return load_settings().paths.run


def run_folder_anyway() -> Path:
    """For stopping: a wrong setting must not keep anybody from ending the calls."""
    from cli.render import error_line
    from core.settings import home_folder

    try:
        return run_folder()
    except SettingsError as error:
        error_line(str(error))
        return home_folder() / "run"


def log_folder() -> Path:
    """Raises SettingsError."""
    from core.settings import load_settings

    return load_settings().paths.logs
