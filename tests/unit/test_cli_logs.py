"""What `orch logs` finds: by time, by pattern, by call, and of the process before this one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.logquery import CallLines, find_call, instant, of_previous_process, pattern, selection, stamp
from core.errors import InvalidInput, NotFound
from workers.logfiles import Line, WorkerLog, parse

NOW = datetime(2026, 3, 8, 12, 0, 0, tzinfo=UTC)
CALL, OTHER = "3f2a91c0" + "0" * 24, "3f2b77d1" + "0" * 24
FIRST, SECOND = "aaaa" + "1" * 28, "bbbb" + "2" * 28
SID = "CA" + "9" * 32


def line(second: float, event: str = "e", worker: str = "w", level: str = "info", **keys: object) -> str:
    return json.dumps({"ts": stamp(NOW + timedelta(seconds=second)), "level": level, "worker": worker, "event": event, **keys})


def events(lines: list[Line]) -> list[str]:
    return [str((each.keys or {}).get("event", each.raw)) for each in lines]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("10m", NOW - timedelta(minutes=10)),
        ("1h30m", NOW - timedelta(minutes=90)),
        ("0.5s", NOW - timedelta(milliseconds=500)),
        ("250ms", NOW - timedelta(milliseconds=250)),
        ("2d", NOW - timedelta(days=2)),
        ("1w", NOW - timedelta(days=7)),
        ("2026-03-08T11:00:00Z", NOW - timedelta(hours=1)),
        ("2026-03-08T12:00:00+02:00", NOW - timedelta(hours=2)),
        ("2026-03-08 11:00:00+00:00", NOW - timedelta(hours=1)),
    ],
)
def test_times_are_relative_or_absolute(text: str, at: datetime) -> None:
    assert instant(text, "--since", NOW) == at


def test_times_without_a_zone_are_this_machines() -> None:
    assert instant("2026-03-08", "--since", NOW) == datetime(2026, 3, 8).astimezone()
    assert instant("14:05", "--since", NOW).astimezone().strftime("%Y-%m-%d %H:%M:%S") == f"{NOW.astimezone():%Y-%m-%d} 14:05:00"
    assert instant("99999999w", "--since", NOW).year == 1


@pytest.mark.parametrize("text", ["", "10", "10x", "m", "25:61", "yesterday", "2026-13-01", "-10m"])
def test_what_is_no_time_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"--until .* is no time; write 10m"):
        instant(text, "--until", NOW)


def test_a_pattern_that_is_none_is_refused() -> None:
    assert pattern("a+").search("caat")
    with pytest.raises(InvalidInput, match=r"--grep '\('.*unterminated"):
        pattern("(")


def test_all_that_is_asked_holds_together() -> None:
    wanted = selection(level="warning", since=stamp(NOW), until=stamp(NOW + timedelta(seconds=9)), grep=pattern("needle"))
    lines = [
        line(-1, "needle.early", level="error"),
        line(1, "needle.info"),
        line(2, "hay", level="error"),
        line(3, "needle.found", level="error"),
        line(9, "needle.last", level="critical"),
        line(10, "needle.late", level="error"),
        "a needle without a time",
    ]
    assert events([each for each in map(parse, lines) if wanted(each)]) == ["needle.found", "needle.last", "a needle without a time"]


# Of one call.


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[list[WorkerLog]]:
    (tmp_path / "call-scheduler.log.1").write_text(
        line(1, "scheduled", call=CALL) + "\n" + line(1, "dialled", call=CALL, attempt=FIRST) + "\n"
    )
    (tmp_path / "call-scheduler.log").write_text(
        line(5, "again", call=CALL, attempt=SECOND, carrier_call=SID)
        + "\n"
        + line(6, "another", call=OTHER, attempt="cccc" + "3" * 28)
        + "\n"
    )
    (tmp_path / "media-server.log").write_text(line(3, "spoken", attempt=FIRST) + "\n" + line(6, "spoken again", attempt=SECOND) + "\n")
    (tmp_path / "phone-simulator.log").write_text(line(7, "rang", call_sid=SID) + "\n" + line(8, "idle", call=None, attempt="") + "\n")
    found = [WorkerLog(tmp_path, name) for name in ("call-scheduler", "media-server", "phone-simulator")]
    yield found
    for log in found:
        log.close()


@pytest.mark.parametrize("given", [CALL, CALL[:8], CALL[:8].upper(), FIRST, SECOND[:6], SID, SID.lower()])
def test_every_line_of_a_call_is_found_by_any_of_its_ids(logs: list[WorkerLog], given: str) -> None:
    call = find_call(given, logs)
    wanted = selection(level="debug", call=call)
    found = sorted((each for log in logs for each in log.tail(None, wanted)), key=lambda each: each.ts)
    assert events(found) == ["scheduled", "dialled", "spoken", "again", "spoken again", "rang"]


def test_an_id_that_fits_several_calls_names_them(logs: list[WorkerLog], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="too short"):
        find_call("3f2", logs)
    twin = CALL[:8] + "f" * 24
    (tmp_path / "twin.log").write_text(line(1, call=twin) + "\n")
    with WorkerLog(tmp_path, "twin") as log, pytest.raises(InvalidInput, match=f"fits several calls: {CALL}, {twin}"):
        find_call(CALL[:8], [*logs, log])


def test_an_unknown_id_says_where_calls_are_listed(logs: list[WorkerLog]) -> None:
    with pytest.raises(NotFound, match="orch call list"):
        find_call("deadbeef", logs)


def test_a_retry_that_comes_later_belongs_to_the_call_that_is_followed() -> None:
    call = CallLines([CALL])
    assert not call.takes(parse(line(1, attempt=SECOND)))
    assert call.takes(parse(line(2, call=CALL, attempt=SECOND)))
    assert call.takes(parse(line(3, attempt=SECOND)))
    assert not call.takes(parse(line(4, attempt=FIRST)))
    assert not call.takes(parse("not JSON"))


# Of the process before this one.


def supervisor(tmp_path: Path, *lines: str) -> None:
    (tmp_path / "supervisor.log").write_text("".join(f"{each}\n" for each in lines))


def started(second: float, output_at: int, pid: int | None = None) -> str:
    return line(second, "worker.started", "supervisor", worker_name="w", pid=pid or os.getpid(), output_at=output_at)


def exited(second: float) -> str:
    return line(second, "worker.exited", "supervisor", worker_name="w", exit="exit 1")


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    (tmp_path / "w.log").write_text("".join(line(n, f"e{n}") + "\n" for n in range(10)))
    (tmp_path / "w.out").write_text("of the first\nTraceback\n  boom\nof the third\n")
    return tmp_path


def test_the_process_before_is_shown_with_what_it_printed(worker: Path) -> None:
    supervisor(worker, started(0, 0), exited(2.5), started(3, 13), exited(6.5), started(7, 30))
    assert events(of_previous_process(worker, "w")) == ["e3", "e4", "e5", "e6", "Traceback", "  boom"]


def test_one_that_was_given_up_is_the_one_before(worker: Path) -> None:
    supervisor(worker, started(0, 0), exited(2.5), started(3, 13), exited(6.5))
    found = of_previous_process(worker, "w")
    assert events(found)[-3:] == ["Traceback", "  boom", "of the third"]
    assert {each.worker for each in found} == {"w"}


def test_one_that_died_with_its_supervisor_is_the_one_before(worker: Path) -> None:
    supervisor(worker, started(0, 0), started(3, 13))
    assert events(of_previous_process(worker, "w")) == ["e0", "e1", "e2", "of the first"]
    nobody = 2**22 + 1  # above the kernel's largest pid
    supervisor(worker, started(0, 0), started(3, 13, nobody))
    assert events(of_previous_process(worker, "w"))[0] == "e3"


def test_without_a_process_before_there_is_nothing(worker: Path) -> None:
    assert of_previous_process(worker, "w") == []
    supervisor(worker, started(0, 0))
    assert of_previous_process(worker, "w") == []
    assert of_previous_process(worker, "somebody-else") == []


def test_output_that_was_begun_anew_is_not_mixed_up(worker: Path) -> None:
    # It had grown too large, so that the next process began at 0 again.
    (worker / "w.out").write_text("new\n")
    supervisor(worker, started(0, 0), exited(2), started(3, 5000), exited(4), started(5, 0))
    assert events(of_previous_process(worker, "w")) == ["e3", "e4"]


def test_the_supervisor_has_one_before_it_too(worker: Path) -> None:
    at = os.getpid()
    supervisor(
        worker,
        line(0, "supervisor.started", "supervisor", pid=at),
        line(1, "killed after this"),
        line(5, "supervisor.started", "supervisor", pid=at),
        line(6, "now"),
    )
    assert events(of_previous_process(worker, "supervisor")) == ["supervisor.started", "killed after this"]
