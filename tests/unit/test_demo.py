"""The demo finds daytime at any hour, calls other phones each time, and refuses to ring real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.demo import daytime_zones
from core.domain.windows import zone_of
from core.settings import CHECKOUT
from workers.phone_simulator.demo_numbers import RUNS, demo_phones


@pytest.mark.parametrize("day", ["2026-01-15", "2026-03-08", "2026-03-29", "2026-07-01", "2026-10-25", "2026-11-01"])
def test_it_is_daytime_somewhere_at_any_hour(day: str) -> None:
    for quarter in range(96):
        now = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(minutes=15 * quarter)
        zones = daytime_zones(now)
        assert zones, now
        # A window of half an hour, and the retries in it, end long before the permitted hours do.
        assert all(10 <= now.astimezone(zone_of(zone)).hour < 17 for zone in zones)


def test_each_demo_of_a_day_calls_phones_that_have_not_rung() -> None:
    numbers = [number for run in range(RUNS) for _, number in demo_phones(run)]
    assert len(set(numbers)) == len(numbers)


def test_it_refuses_a_real_carrier(tmp_path: Path) -> None:
    real = {
        "ORCH_HOME": str(tmp_path),
        "ORCH_CARRIER": "twilio",
        "TWILIO_ACCOUNT_SID": "AC1",
        "TWILIO_AUTH_TOKEN": "t",
        "TWILIO_FROM_NUMBER": "+12025550100",
        "ORCH_PUBLIC_URL": "https://calls.example.org",
        "ORCH_PUBLIC_MEDIA_URL": "wss://calls.example.org",
        "ORCH_DIAL_ONLY": "+12025550117",
    }
    orch = [sys.executable, "-m", "cli.main"]
    environment = {**os.environ, **real}
    subprocess.run([*orch, "init"], check=True, capture_output=True, cwd=CHECKOUT, env=environment)
    done = subprocess.run([*orch, "demo"], capture_output=True, text=True, cwd=CHECKOUT, env=environment)
    assert done.returncode == 1
    assert "only ever calls simulated phones" in done.stderr
    assert "\n" not in done.stderr.strip()
