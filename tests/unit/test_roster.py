from __future__ import annotations

from pathlib import Path

import pytest

from core.settings import Settings, load_settings
from workers.roster import WORKER_NAMES, Address, WorkerSpec, load_roster, roster, save_roster

TWILIO = {
    "ORCH_CARRIER": "twilio",
    "TWILIO_ACCOUNT_SID": "AC00000000000000000000000000000000",
    "TWILIO_AUTH_TOKEN": "secret",
    "TWILIO_FROM_NUMBER": "+15005550006",
    "ORCH_PUBLIC_URL": "https://calls.example.org",
    "ORCH_PUBLIC_MEDIA_URL": "wss://calls.example.org",
    "ORCH_DIAL_ONLY": "+15005550001",
}


def settings_with(monkeypatch: pytest.MonkeyPatch, home: Path, **values: str) -> Settings:
    for name, value in {"ORCH_HOME": str(home), **values}.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_with_the_simulator_all_workers_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    workers = roster(settings_with(monkeypatch, tmp_path))
    assert tuple(worker.name for worker in workers) == WORKER_NAMES


def test_with_a_real_carrier_there_is_no_simulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    workers = roster(settings_with(monkeypatch, tmp_path, **TWILIO))
    assert "phone-simulator" not in {worker.name for worker in workers}


def test_servers_listen_where_the_settings_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    workers = roster(settings_with(monkeypatch, tmp_path, ORCH_HOST="0.0.0.0", ORCH_PORT="9000", ORCH_MEDIA_PORT="9001"))
    listen = {worker.name: worker.listen for worker in workers}
    assert listen["webhook-server"] == Address("0.0.0.0", 9000)
    assert listen["media-server"] == Address("0.0.0.0", 9001)
    assert listen["window-scheduler"] is None
    # It would be an open telephone network.
    assert listen["phone-simulator"] == Address("127.0.0.1", 8002)


def test_the_media_server_may_finish_the_longest_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    workers = roster(settings_with(monkeypatch, tmp_path, ORCH_MAX_CALL_SECONDS="1200"))
    assert next(worker for worker in workers if worker.name == "media-server").drain_seconds > 1200


def test_what_others_need_while_draining_stops_after_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    workers = {worker.name: worker for worker in roster(settings_with(monkeypatch, tmp_path))}
    assert "media-server" in workers["webhook-server"].stops_after
    assert {"media-server", "webhook-server"} <= set(workers["phone-simulator"].stops_after)

    def waits_for(name: str) -> set[str]:
        return {user for first in workers[name].stops_after for user in {first, *waits_for(first)}}

    assert all(name not in waits_for(name) for name in workers), "workers that wait for each other never stop"


def test_every_module_exists() -> None:
    from importlib.util import find_spec

    for name in WORKER_NAMES:
        assert find_spec(f"workers.{name.replace('-', '_')}") is not None


def test_a_roster_survives_its_file(tmp_path: Path) -> None:
    workers = (
        WorkerSpec("one", "workers.one", listen=Address("::1", 80), drain_seconds=1.5, stops_after=("two",)),
        WorkerSpec("two", command=("sleep", "1")),
    )
    save_roster(tmp_path / "roster.json", workers)
    assert load_roster(tmp_path / "roster.json") == workers


def test_addresses_read_as_people_write_them() -> None:
    assert str(Address("127.0.0.1", 8000)) == "127.0.0.1:8000"
    assert str(Address("::1", 8000)) == "[::1]:8000"
