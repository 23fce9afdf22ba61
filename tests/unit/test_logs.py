from __future__ import annotations

import json
import logging
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from core import logs

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _untouched_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.handlers[:], logging.raiseExceptions = handlers, raising
    root.setLevel(level)
    structlog.reset_defaults()


def lines(folder: Path, worker: str = "call-scheduler") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{worker}.log").read_text().splitlines()]


@pytest.mark.parametrize(
    ("phone", "masked"),
    [
        ("+15551230123", "+1555***0123"),
        ("+4915112345678", "+4915***5678"),
        ("+4930123456", "+49***56"),
        ("+3712345", "+37***45"),
        ("12345", "***"),
        ("", "***"),
    ],
)
def test_a_masked_number_always_hides_something(phone: str, masked: str) -> None:
    assert logs.mask_phone(phone) == masked


def test_a_line_is_json_with_the_leading_keys_first(tmp_path: Path) -> None:
    logs.configure("call-scheduler", tmp_path, "info", 1)
    before = datetime.now(UTC)
    logs.get_logger().info("call.dialled", attempt="a1", seconds=0.25)
    (line,) = lines(tmp_path)
    assert list(line) == ["ts", "level", "worker", "event", "attempt", "seconds"]
    assert line["level"] == "info"
    assert line["worker"] == "call-scheduler"
    assert abs((datetime.fromisoformat(line["ts"]) - before).total_seconds()) < 5
    assert line["ts"].endswith("Z")


def test_the_level_is_kept(tmp_path: Path) -> None:
    logs.configure("call-scheduler", tmp_path, "warning", 1)
    logs.get_logger().info("not.this")
    logs.get_logger().warning("but.this")
    assert [line["event"] for line in lines(tmp_path)] == ["but.this"]


def test_bound_keys_are_on_every_line_inside(tmp_path: Path) -> None:
    logs.configure("call-scheduler", tmp_path, "info", 1)
    with logs.bind(call_id="c1"):
        logs.get_logger().info("inside")
    logs.get_logger().info("outside")
    inside, outside = lines(tmp_path)
    assert inside["call_id"] == "c1"
    assert "call_id" not in outside


def test_libraries_log_into_the_same_file_but_not_their_chatter(tmp_path: Path) -> None:
    logs.configure("call-scheduler", tmp_path, "info", 1)
    logging.getLogger("some.library").warning("odd %s", "thing")
    logging.getLogger("twilio.http_client").info("POST Request: To=+15551230123")
    (line,) = lines(tmp_path)
    assert line["event"] == "odd thing"
    assert line["worker"] == "call-scheduler"


def test_personal_things_do_not_reach_the_file(tmp_path: Path) -> None:
    logs.configure("call-scheduler", tmp_path, "info", 1)
    error = ValueError("no route to +15551230123")
    logs.get_logger().error(
        "odd.event",
        exc_info=error,
        url="https://h/webhooks?To=%2B15551230123",
        heard="my sister is ill",
        auth_token="very-secret",
        nested={"password": "hidden", "phone": "+15551230123", "list": ["+15551230123"]},
    )
    text = (tmp_path / "call-scheduler.log").read_text()
    for private in ("15551230123", "sister", "very-secret", "hidden"):
        assert private not in text
    (line,) = lines(tmp_path)
    assert line["heard"] == "(16 characters)"
    assert "+1555***0123" in line["exception"]
    assert "ValueError" in line["exception"]


def test_what_is_not_personal_stays(tmp_path: Path) -> None:
    logs.configure("call-scheduler", tmp_path, "info", 1)
    logs.get_logger().info(
        "window.opened", at="2026-03-08T14:00:00+00:00", zone="Asia/Kolkata", sum="1+2", offset="+0530", count=3, none=None
    )
    (line,) = lines(tmp_path)
    assert (line["at"], line["zone"], line["sum"], line["offset"], line["count"], line["none"]) == (
        "2026-03-08T14:00:00+00:00",
        "Asia/Kolkata",
        "1+2",
        "+0530",
        3,
        None,
    )


def test_the_file_is_rotated_at_its_size(tmp_path: Path) -> None:
    logs.configure("call-scheduler", tmp_path, "info", 1)
    log = logs.get_logger()
    for number in range(40):
        log.info("big", number=number, filling="x" * 60_000)
    assert (tmp_path / "call-scheduler.log.1").exists()
    assert (tmp_path / "call-scheduler.log").stat().st_size <= 1024 * 1024


def test_configuring_again_does_not_write_twice(tmp_path: Path) -> None:
    logs.configure("call-scheduler", tmp_path, "info", 1)
    logs.configure("call-scheduler", tmp_path, "info", 1)
    logs.get_logger().info("once")
    assert len(lines(tmp_path)) == 1


def test_old_files_are_kept_up_to_their_number(tmp_path: Path) -> None:
    handler = logs.LineFile(tmp_path / "x.log", max_bytes=100, backups=2)
    for number in range(12):
        handler.handle(record(f"{number:02d} " + "x" * 60))
    handler.close()
    assert [path.read_text()[:2] for path in (tmp_path / "x.log", tmp_path / "x.log.1", tmp_path / "x.log.2")] == ["11", "10", "09"]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_full_disk_costs_lines_but_raises_nothing_and_the_loss_is_told(tmp_path: Path) -> None:
    path = tmp_path / "call-scheduler.log"
    # A real ENOSPC, without filling a disk.
    path.symlink_to("/dev/full")
    logs.configure("call-scheduler", tmp_path, "info", 1)
    log = logs.get_logger()
    for _ in range(3):
        log.info("not.this")
    path.unlink()
    log.info("but.this")
    told, kept = lines(tmp_path)
    assert (told["event"], told["lines"], told["level"], told["worker"]) == ("log.lines_lost", 3, "warning", "call-scheduler")
    assert kept["event"] == "but.this"


def test_a_line_that_fits_in_part_is_taken_out_again(tmp_path: Path) -> None:
    program = f"""
import logging, resource, signal
from pathlib import Path
from core.logs import LineFile
handler = LineFile(Path({str(tmp_path / "x.log")!r}), 1 << 20)
resource.setrlimit(resource.RLIMIT_FSIZE, (150, resource.RLIM_INFINITY))
def say(text):
    handler.handle(logging.LogRecord("x", logging.INFO, "", 0, text, None, None))
say("a" * 99)
say("b" * 99)
say("c" * 9)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
say("d" * 99)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=CHECKOUT)
    assert (tmp_path / "x.log").read_text().splitlines() == ["a" * 99, "log.lines_lost", "c" * 9, "d" * 99]


def test_a_log_whose_new_file_cannot_be_made_goes_on_when_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    handler = logs.LineFile(folder / "x.log", max_bytes=100)
    handler.handle(record("a" * 90))
    folder.rename(tmp_path / "away")
    handler.handle(record("b" * 90))
    (tmp_path / "away").rename(folder)
    handler.handle(record("c"))
    handler.close()
    assert "a" * 90 in (folder / "x.log").read_text() + "".join(path.read_text() for path in folder.glob("x.log.*"))
    assert (folder / "x.log").read_text().endswith("c\n")


def test_a_line_cut_by_a_power_failure_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text('{"event":"whole"}\n{"eve')
    handler = logs.LineFile(tmp_path / "x.log", max_bytes=1000)
    handler.handle(record("next"))
    handler.close()
    assert (tmp_path / "x.log").read_text().splitlines() == ['{"event":"whole"}', '{"eve', "next"]


def test_the_log_is_for_this_user_alone(tmp_path: Path) -> None:
    logs.LineFile(tmp_path / "x.log", max_bytes=1000).close()
    assert stat.S_IMODE((tmp_path / "x.log").stat().st_mode) == 0o600


def test_a_worker_does_not_load_rich_for_its_log(tmp_path: Path) -> None:
    program = (
        "import sys; from core import logs; logs.get_logger(); assert 'structlog' in sys.modules; print('rich' in sys.modules); import rich"
    )
    assert subprocess.run([sys.executable, "-c", program], check=True, cwd=CHECKOUT, capture_output=True).stdout == b"False\n"


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "", 0, text, None, None)
