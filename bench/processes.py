"""Looking at processes from outside, for several measurements."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

# What each worker cannot do without: the libraries it stands on, and nothing of orch.
_ALL = "structlog, pydantic_settings"
_DATA = f"sqlalchemy.orm, {_ALL}"
LIBRARIES = {
    "window-scheduler": f"{_DATA}, apscheduler.schedulers.asyncio",
    "call-scheduler": f"{_DATA}, apscheduler.schedulers.asyncio, twilio.rest",
    "webhook-server": f"{_DATA}, fastapi, uvicorn",
    "media-server": f"{_DATA}, picows, soxr",
    "phone-simulator": f"{_ALL}, aiohttp.web",
}
DECODER = "pocketsphinx, webrtcvad, numpy"


def family(pid: int) -> list[int]:
    """The process and all below it: speech decoders are the media server's."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def processor_seconds(pid: int) -> float:
    """On a processor so far, of all its threads; exact to the nanosecond where proc_pid_stat(5) counts in steps of 10 ms."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def memory(pid: int) -> tuple[float, float]:
    """MB resident (RSS), and with pages that several processes use shared out among them (PSS). Source: proc_pid_smaps_rollup."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return int(fields["Rss"].split()[0]) / 1024, int(fields["Pss"].split()[0]) / 1024


def with_bytecode(folder: Path) -> dict[str, str]:
    """The environment in which Python keeps what it compiled, as on every machine but one where somebody switched that off."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if len(environment) < len(os.environ):
        environment["PYTHONPYCACHEPREFIX"] = str(folder)
    return environment


def summary(seconds: Sequence[float]) -> str:
    return f"median {statistics.median(seconds):.2f} s, least {min(seconds):.2f} s, most {max(seconds):.2f} s"
