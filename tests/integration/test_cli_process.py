"""The `orch` command as a shell runs it, without a daemon: what it loads, how it ends, what it completes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.home import CHECKED_NAME, remember_checked
from cli.main import main
from core.environment import read
from core.settings import setting_names

PROGRAMS = sysconfig.get_path("scripts")
PROGRAM = f"{PROGRAMS}/orch"
# What these commands are too quick to load.
HEAVY = {
    *("alembic", "celery", "cryptography", "fastapi", "google", "httpx", "langgraph", "phonenumbers", "pydantic", "rich"),
    *("sqlalchemy", "structlog", "twilio", "uvicorn", "yaml"),
}

Run = Callable[..., subprocess.CompletedProcess[str]]


def words_of(value: object) -> str:
    return "_".join(value) if isinstance(value, list) else ""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose settings were looked at before, with a few lines of log."""
    made = tmp_path / "home"
    for name in ("run", "logs"):
        (made / name).mkdir(parents=True)
    monkeypatch.setenv("ORCH_HOME", str(made))
    remember_checked(made / "run" / CHECKED_NAME, read(), setting_names())
    lines = [
        json.dumps({"ts": f"2026-03-08T12:00:00.{n:03d}Z", "level": "info", "worker": "media-server", "event": f"e{n}"}) for n in range(500)
    ]
    (made / "logs" / "media-server.log").write_text("\n".join(lines) + "\n")
    return made


@pytest.fixture
def orch(home: Path) -> Run:
    def run(*words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [PROGRAM, *words],
            env={**os.environ, **environment},
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == code, f"orch {' '.join(words)}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended

    return run


@pytest.fixture
def inside(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """As `orch`, in this process: the same from the arguments to the exit code, without the start of an interpreter."""
    mask = os.umask(0o077)

    def run(*words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["orch", *words])
            for name, value in environment.items():
                patched.setenv(name, value)
            ended = main()
        said = capsys.readouterr()
        assert ended == code, f"orch {' '.join(words)}: {ended}\n{said.out}\n{said.err}"
        return subprocess.CompletedProcess(words, ended, said.out, said.err)

    yield run
    os.umask(mask)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["logs", "--help"], 0),
        (["status", "--json"], 3),
        (["logs", "--tail", "5"], 0),
        (["logs", "--since", "1h", "--level", "error", "--grep", "x", "--previous"], 0),
        (["stop-all"], 0),
    ],
    ids=words_of,
)
def test_what_is_asked_most_loads_little(orch: Run, words: list[str], code: int) -> None:
    said = orch(*words, code=code, PYTHONPROFILEIMPORTTIME="1").stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in said.splitlines() if line.startswith("import time:")}
    assert "typer" in loaded, "the list of imports was not read"
    assert not loaded & HEAVY


def test_settings_that_changed_are_looked_at_again(inside: Run, home: Path) -> None:
    (home / ".env").write_text("ORCH_PORT=banana\n")
    for words in (["status", "--json"], ["logs"], ["jobs"], ["trigger", "window_scan"], ["restart", "media"]):
        ended = inside(*words, code=5)
        assert (ended.stdout, len(ended.stderr.splitlines())) == ("", 1)
        assert "ORCH_PORT=banana" in ended.stderr
    stopped = inside("stop-all")
    assert "ORCH_PORT=banana" in stopped.stderr
    assert "not running" in stopped.stdout


@pytest.mark.parametrize("lines", ["1", "100000"])
def test_a_reader_that_has_enough_is_no_error(home: Path, lines: str) -> None:
    (home / "logs" / "media-server.log").write_text((home / "logs" / "media-server.log").read_text() * 40)
    writer = subprocess.Popen([PROGRAM, "logs", "--tail", lines], env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.close()
    said = writer.stderr.read()
    writer.stderr.close()
    assert writer.wait(30) == 141
    assert said == b""


def test_a_bug_is_one_line_and_its_traceback_is_kept(orch: Run, home: Path) -> None:
    # Something that nobody thought of: a folder where a file should be.
    (home / "logs" / "supervisor.log").mkdir()
    said = orch("logs", code=1).stderr
    assert len(said.splitlines()) == 1
    assert said.startswith("orch: this should not have happened: IsADirectoryError")
    log = home / "logs" / "cli.log"
    assert str(log) in said
    (kept,) = map(json.loads, log.read_text().splitlines())
    assert (kept["event"], kept["command"], kept["worker"], kept["level"]) == ("command.failed", "logs", "cli", "error")
    assert "Traceback" in kept["exception"]
    assert log.stat().st_mode & 0o077 == 0
    assert "Traceback" in orch("logs", code=1, ORCH_DEBUG="1").stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["dance"], "no such command 'dance'"),
        (["contcat"], "Did you mean 'contact'? See `orch --help`"),
        (["logs", "--tial", "3"], "see `orch logs --help`"),
        (["logs", "--tail", "many"], "invalid value for '--tail'"),
        (["contact", "show"], "missing argument"),
        (["logs", "--level", "loud"], "debug, info"),
        (["logs", "--since", "soon"], "write 10m"),
        (["logs", "--since", "1h", "--until", "2h"], "--until 2h is before --since 1h"),
        (["logs", "--grep", "("], "no regular expression"),
        (["logs", "--call", "ab"], "at least 4"),
        (["logs", "--previous", "--follow"], "leave out"),
        (["status", "--wait", "happy"], "ready or stopped"),
        (["status", "--wait", "ready", "--watch"], "leave out"),
    ],
    ids=words_of,
)
def test_what_is_mistyped_is_told_in_one_line(inside: Run, words: list[str], told: str) -> None:
    ended = inside(*words, code=2)
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert ended.stderr.startswith("orch: ")
    assert told in ended.stderr


def test_waiting_for_what_does_not_come_ends(inside: Run) -> None:
    ended = inside("status", "--wait", "ready", "--timeout", "0.2", code=124)
    assert "not ready after 0.2 s; still waiting for orch to be started" in ended.stderr
    assert inside("status", "--wait", "stopped", "--json").stdout.startswith('{"running": false')


def test_logs_for_programs_and_for_people(inside: Run, home: Path) -> None:
    piped = inside("logs", "-n", "2").stdout.splitlines()
    assert [json.loads(line)["event"] for line in piped] == ["e498", "e499"]
    assert inside("logs", "-n", "2", "--json", FORCE_COLOR="1").stdout.splitlines() == piped
    for_people = inside("logs", "-n", "1", FORCE_COLOR="1").stdout
    assert "\x1b[" in for_people
    assert "media-server" in for_people
    assert "\x1b[" not in inside("logs", "-n", "1", FORCE_COLOR="1", NO_COLOR="1").stdout
    early = inside("logs", "--until", "2026-03-08T12:00:00.003Z", "--since", "2026-03-08T12:00:00.001Z", "--json").stdout.splitlines()
    assert [json.loads(line)["event"] for line in early] == ["e1", "e2", "e3"]
    nothing = inside("logs", "--grep", "not there")
    assert (nothing.stdout, len(nothing.stderr.splitlines())) == ("", 1)


def test_help_and_logs_have_colours_only_where_they_are_wanted(inside: Run, orch: Run) -> None:
    assert "\x1b[" not in inside("--help").stdout
    assert "\x1b[1mExamples\x1b[0m" in inside("logs", "--help", FORCE_COLOR="1").stdout
    # --no-color counts wherever it stands, and for the rest of the process.
    assert "\x1b[" not in orch("logs", "--help", "--no-color", FORCE_COLOR="1").stdout
    plain = orch("logs", "-n", "1", "--no-color", FORCE_COLOR="1").stdout
    assert "\x1b[" not in plain
    assert plain.endswith("media-server     | e499\n")
    without = inside(code=2)
    assert without.stdout == ""
    assert without.stderr.startswith("Usage: orch")


def test_config_show_says_what_is_where_it_comes_from_and_what_is_wrong(inside: Run, home: Path) -> None:
    (home / ".env").write_text("# ours\nORCH_PROT=8000\nTWILIO_AUTH_TOKEN=hunter2\n")
    ended = inside("config", "show", "--origin", "--changed", ORCH_LOG_LEVEL="debug")
    rows = {words[0]: words[1:] for words in map(str.split, ended.stdout.splitlines())}
    assert rows["TWILIO_AUTH_TOKEN"] == ["***", f"{home}/.env:3"]
    assert rows["ORCH_LOG_LEVEL"] == ["debug", "environment"]
    assert "ORCH_PORT" not in rows
    assert "did you mean ORCH_PORT?" in ended.stderr
    shown = json.loads(inside("config", "show", "--json").stdout)
    assert [each["name"] for each in shown["settings"]] == setting_names()
    assert shown["warnings"]
    assert "hunter2" not in json.dumps(shown)
    wrong = inside("config", "show", "--changed", code=5, MAX_RETRY_COUNT="lots")
    assert "MAX_RETRY_COUNT" in wrong.stdout
    assert "MAX_RETRY_COUNT=lots is not allowed" in wrong.stderr


# The shell's side of completion.


def bash(home: Path, script: str) -> list[str]:
    environment = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": str(home), "SHELL": "/bin/bash"}
    ended = subprocess.run(["bash", "--norc", "-c", script], env=environment, cwd=home, capture_output=True, text=True, timeout=60)
    assert ended.stderr == ""
    return ended.stdout.split()


def completed(home: Path, *lines: str) -> dict[str, list[str]]:
    """What is offered for the last word of each line."""
    script = ['eval "$(_ORCH_COMPLETE=source_bash orch)"']
    for line in lines:
        script.append(f"COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _orch_completion orch")
        script.append('echo "${COMPREPLY[*]},"')
    return dict(zip(lines, (each.split() for each in " ".join(bash(home, "\n".join(script))).split(",")), strict=False))


def test_bash_completes(home: Path) -> None:
    wanted = {
        "orch stat": ["status"],
        "orch logs --pre": ["--previous"],
        "orch logs --worker med": ["media-server"],
        "orch restart w": ["window-scheduler", "webhook-server"],
        "orch trigger window": ["window_scan"],
        "orch plan show daily": ["daily-reflection"],
        "orch contact sh": ["show"],
    }
    assert completed(home, *wanted) == wanted


def test_completion_says_nothing_about_wrong_settings(home: Path) -> None:
    (home / ".env").write_text("what is this\n")
    wanted = {"orch logs --worker med": ["media-server"], "orch contact show x": []}
    assert completed(home, *wanted) == wanted


def test_completion_is_installed_for_the_shell_that_asks(home: Path) -> None:
    # `true` keeps bash there as the parent, which is how the shell is recognised.
    said = bash(home, "orch --install-completion; true")
    assert "bash" in said
    assert "source" in (home / ".bashrc").read_text()
    (script,) = home.rglob("orch.sh")
    assert "_ORCH_COMPLETE=complete_bash" in script.read_text()
    assert "complete" in " ".join(bash(home, "orch --show-completion; true"))
