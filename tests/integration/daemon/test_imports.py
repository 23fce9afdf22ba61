"""What each process loads. It is most of the time a worker needs to come back after a crash, and most of its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
PARTS = ("core.calls.dialler", "core.engagement", "core.conversation", "core.speech", "workers.schedule")
LIBRARIES = ("alembic", "apscheduler", "fastapi", "google", "httpx", "numpy", "rich", "sqlalchemy", "twilio.rest", "uvicorn")


def loaded_by(program: str, *words: str, home: Path | None = None) -> set[str]:
    """Every module that is loaded when `program` ends."""
    ended = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport json, sys\nsys.stdout.write('\\n' + json.dumps(sorted(sys.modules)))", *words],
        cwd=CHECKOUT,
        env={**os.environ, **({"ORCH_HOME": str(home)} if home else {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("module", "may_load"),
    [
        ("workers.supervisor", set()),
        ("workers.window_scheduler, core.windows.scheduler, workers.schedule", {"apscheduler", "sqlalchemy", "workers.schedule"}),
        (
            "workers.call_scheduler, core.engagement.driver, workers.schedule",
            {"apscheduler", "sqlalchemy", "core.calls.dialler", "core.engagement", "workers.schedule"},
        ),
        ("workers.webhook_server.__main__", {"fastapi", "uvicorn", "sqlalchemy", "core.conversation"}),
        ("workers.media_server.__main__", {"sqlalchemy", "core.conversation", "core.speech"}),
        ("workers.phone_simulator.__main__", {"core.speech"}),
        ("core.speech.local.decoder_process", {"numpy", "core.speech"}),
    ],
)
def test_a_process_loads_only_its_part(module: str, may_load: set[str]) -> None:
    loaded = loaded_by(f"import {module}")
    assert loaded & {"core.logs", "core.errors"}, "the list of imports was not read"
    assert {name for name in (*PARTS, *LIBRARIES) if name in loaded} <= may_load


def test_data_commands_load_no_dialler_and_no_migrations(tmp_path: Path) -> None:
    command = "import sys\nfrom cli.main import main\nsys.argv[0] = 'orch'\nassert main() == 0"
    made = loaded_by(command, "init", home=tmp_path)
    assert "alembic.command" in made, "there was something to migrate"
    for words in (("init",), ("contact", "list"), ("call", "list"), ("window", "list")):
        loaded = loaded_by(command, *words, home=tmp_path)
        assert not {"alembic", "core.calls.dialler", "core.engagement", "twilio", "google", "apscheduler"} & loaded, words
    assert "sqlalchemy" not in loaded_by(command, "init", home=tmp_path)
