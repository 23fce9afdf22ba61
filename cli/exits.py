"""Exit codes, and which error means which. Scripts rely on them: they do not change."""

from __future__ import annotations

from core.errors import InvalidInput, NotRunning, OrchError, SettingsError

FAILED = 1
USAGE = 2
NOT_RUNNING = 3
# A worker was given up, waits to be restarted, hangs, or had to be killed.
DEGRADED = 4
PREFLIGHT = 5
TIMED_OUT = 124
INTERRUPTED = 130


def code_of(error: OrchError) -> int:
    if isinstance(error, NotRunning):
        return NOT_RUNNING
    if isinstance(error, InvalidInput):
        return USAGE
    # By name, because importing workers.preflight for every command would cost each of them time.
    if isinstance(error, SettingsError) or type(error).__name__ == "PreflightFailed":
        return PREFLIGHT
    return FAILED
