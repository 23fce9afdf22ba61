"""Where the running daemon is found, without loading the settings."""

from __future__ import annotations

from pathlib import Path


def home() -> Path:
    from core.settings import home_folder

    return home_folder()


def run_folder() -> Path:
    return home() / "run"


def log_folder() -> Path:
    return home() / "logs"
