from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from core import logs


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
