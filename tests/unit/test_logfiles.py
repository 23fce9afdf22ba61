from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workers import logfiles
from workers.logfiles import Line, WorkerLog


def everything(_line: Line) -> bool:
    return True


def line(number: int, worker: str = "a", level: str = "info", filling: str = "") -> str:
    return (
        json.dumps({"ts": f"2026-01-01T00:00:00.{number:06d}Z", "level": level, "worker": worker, "event": f"e{number}", "f": filling})
        + "\n"
    )


def events(lines: list[Line]) -> list[str]:
    return [str((one.keys or {}).get("event", one.raw)) for one in lines]


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[Callable[[str], WorkerLog]]:
    opened: list[WorkerLog] = []

    def open_one(worker: str) -> WorkerLog:
        opened.append(WorkerLog(tmp_path, worker))
        return opened[-1]

    yield open_one
    for log in opened:
        log.close()


def rotate(log: Path) -> None:
    for index in (4, 3, 2, 1):
        old = log.with_name(f"{log.name}.{index}")
        if old.exists():
            old.rename(log.with_name(f"{log.name}.{index + 1}"))
    log.rename(log.with_name(f"{log.name}.1"))


@pytest.mark.parametrize(("count", "first"), [(0, None), (1, 499), (7, 493), (500, 0), (9000, 0)])
def test_the_last_lines_in_order(tmp_path: Path, open_log: Callable[[str], WorkerLog], count: int, first: int | None) -> None:
    # Long enough for several blocks, and lines that straddle them.
    (tmp_path / "a.log").write_text("".join(line(n, filling="x" * (n * 7 % 1500)) for n in range(500)))
    found = events(open_log("a").tail(count, everything))
    assert found == ([] if first is None else [f"e{n}" for n in range(first, 500)])


def test_a_line_longer_than_a_block(tmp_path: Path, open_log: Callable[[str], WorkerLog]) -> None:
    (tmp_path / "a.log").write_text(line(1) + line(2, filling="x" * 300_000) + line(3))
    assert events(open_log("a").tail(3, everything)) == ["e1", "e2", "e3"]


def test_rotated_files_are_read_oldest_first(tmp_path: Path, open_log: Callable[[str], WorkerLog]) -> None:
    log = tmp_path / "a.log"
    for n in range(3):
        log.write_text(line(2 * n) + line(2 * n + 1))
        rotate(log)
    log.write_text(line(6))
    assert events(open_log("a").tail(100, everything)) == [f"e{n}" for n in range(7)]
    assert events(open_log("a").tail(2, everything)) == ["e5", "e6"]


def test_workers_are_merged_by_time(tmp_path: Path, open_log: Callable[[str], WorkerLog]) -> None:
    (tmp_path / "a.log").write_text(line(1) + line(4))
    (tmp_path / "b.log").write_text(line(2, "b") + line(3, "b"))
    logs = [open_log(name) for name in ("a", "b", "not-there")]
    assert events(logfiles.tail(logs, 10, everything)) == ["e1", "e2", "e3", "e4"]
    assert events(logfiles.tail(logs, 2, everything)) == ["e3", "e4"]


def test_a_line_that_is_not_json_stays_behind_the_one_before_it(tmp_path: Path, open_log: Callable[[str], WorkerLog]) -> None:
    (tmp_path / "a.log").write_text(line(1) + "Traceback\n" + line(5))
    (tmp_path / "b.log").write_text(line(3, "b"))
    logs = [open_log(name) for name in ("a", "b")]
    assert events(logfiles.tail(logs, 10, everything)) == ["e1", "Traceback", "e3", "e5"]


def test_the_level_filters_before_counting(tmp_path: Path, open_log: Callable[[str], WorkerLog]) -> None:
    (tmp_path / "a.log").write_text(line(1, level="error") + "".join(line(n) for n in range(2, 50)) + "broken\n")
    found = open_log("a").tail(2, logfiles.at_least("warning"))
    assert events(found) == ["e1", "broken"]


def test_news_is_what_was_written_since(tmp_path: Path, open_log: Callable[[str], WorkerLog]) -> None:
    log = tmp_path / "a.log"
    log.write_text(line(1))
    reader = open_log("a")
    assert reader.news(everything) == []
    with log.open("a") as file:
        file.write(line(2) + line(3)[:20])
        file.flush()
        assert events(reader.news(everything)) == ["e2"]
        file.write(line(3)[20:])
        file.flush()
        assert events(reader.news(everything)) == ["e3"]
    assert events(reader.tail(10, everything)) == ["e1"], "what news showed is not shown by tail again"


def test_news_follows_through_several_rotations(tmp_path: Path, open_log: Callable[[str], WorkerLog]) -> None:
    log = tmp_path / "a.log"
    log.write_text(line(1))
    reader = open_log("a")
    with log.open("a") as file:
        file.write(line(2))
    for n in (3, 4):
        rotate(log)
        log.write_text(line(n))
    assert events(reader.news(everything)) == ["e2", "e3", "e4"]
    rotate(log)
    assert events(reader.news(everything)) == [], "the new file may not exist yet"
    log.write_text(line(5))
    assert events(reader.news(everything)) == ["e5"]


def test_news_of_a_log_that_does_not_exist_yet(tmp_path: Path, open_log: Callable[[str], WorkerLog]) -> None:
    reader = open_log("a")
    assert reader.news(everything) == []
    (tmp_path / "a.log").write_text(line(1))
    assert events(reader.news(everything)) == ["e1"]


def test_last_words_end_with_what_was_printed(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(line(1) + line(2))
    (tmp_path / "a.out").write_text("one\n\ntwo\n")
    assert events(logfiles.last_words(tmp_path, "a", 3)) == ["e2", "one", "two"]
    assert logfiles.last_words(tmp_path, "nobody", 3) == []


def test_news_goes_on_after_the_file_was_emptied(tmp_path: Path, open_log: Callable[[str], WorkerLog]) -> None:
    log = tmp_path / "a.log"
    log.write_text(line(1) + line(2))
    reader = open_log("a")
    with log.open("r+") as file:
        file.truncate(0)
    assert events(reader.news(everything)) == []
    with log.open("a") as file:
        file.write(line(3))
    assert events(reader.news(everything)) == ["e3"]


def test_nothing_older_than_since_is_looked_at(tmp_path: Path, open_log: Callable[[str], WorkerLog]) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(line(n) for n in range(5)))
    rotate(log)
    log.write_text("".join(line(n) for n in range(5, 10)))
    seen: list[str] = []

    def wanted(one: Line) -> bool:
        seen.extend(events([one]))
        return True

    assert events(open_log("a").tail(None, wanted, since="2026-01-01T00:00:00.000007Z")) == ["e7", "e8", "e9"]
    assert seen == ["e9", "e8", "e7"]


def test_lines_know_whose_they_are(tmp_path: Path, open_log: Callable[[str], WorkerLog]) -> None:
    (tmp_path / "a.log").write_text("not JSON\n" + line(1))
    assert [one.worker for one in open_log("a").tail(None, everything)] == ["a", "a"]
