"""What `orch doctor` looks at: one check a line, each by itself, so that one that fails hides no other.

Nothing is made or changed, and no daemon is needed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from core.errors import NotRunning, OrchError
from core.settings import Settings, load_settings, without_password
from workers.doctor_outside import check_carrier, check_clock, check_public_url
from workers.findings import Finding, State
from workers.process import LOCK_NAME, FileLock

LEAST_PYTHON = (3, 11)
DISK_FAIL_MB = 200
DISK_WARN_MB = 2048
# A zone's rules change a few times a year; data this old has missed some.
TZDATA_DAYS = 550


@dataclass(frozen=True, slots=True)
class Choice:
    """What stands behind a seam, and what else could."""

    part: str
    chosen: str
    otherwise: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    choices: tuple[Choice, ...]
    findings: tuple[Finding, ...]

    @property
    def is_well(self) -> bool:
        return all(finding.state is not State.FAIL for finding in self.findings)


def diagnose(now: datetime, home: Path) -> Diagnosis:
    """Everything that can be looked at from here. `home` is where the settings are looked for."""
    findings = [_python()]
    try:
        settings = load_settings()
    except OrchError as error:
        findings.append(Finding("settings", State.FAIL, str(error), f"see `orch config show --origin` and {home / '.env'}"))
        return Diagnosis((), (*findings, *_disk(home)))
    findings.append(Finding("settings", State.OK, f"read for {settings.paths.home}"))
    set_up = not _missing_folders(settings)
    for name, check in _CHECKS:
        if name in _OF_THE_HOME and not set_up:
            # That it is not there has been said.
            continue
        try:
            findings += check(settings, now)
        except OrchError as error:
            findings.append(Finding(name, State.FAIL, str(error)))
        except Exception as error:  # noqa: BLE001 - a doctor that falls over says nothing about the rest
            findings.append(
                Finding(name, State.FAIL, f"could not be looked at: {type(error).__name__}: {error}", "this is a fault of orch's")
            )
    return Diagnosis(_choices(settings), tuple(findings))


def _choices(settings: Settings) -> tuple[Choice, ...]:
    sqlite = settings.database_url.startswith("sqlite")
    local, by_rules = settings.providers.speech == "local", settings.providers.judge == "rules"
    return (
        Choice(
            "carrier",
            settings.providers.carrier,
            "a real one: ORCH_CARRIER=twilio with TWILIO_*" if settings.simulated else "ORCH_CARRIER=simulator",
        ),
        Choice(
            "speech",
            settings.providers.speech,
            "Google Cloud: ORCH_SPEECH=google and GOOGLE_APPLICATION_CREDENTIALS" if local else "local engines: ORCH_SPEECH=local",
        ),
        Choice(
            "judge", settings.providers.judge, "Gemini: ORCH_JUDGE=gemini and GEMINI_API_KEY" if by_rules else "rules: ORCH_JUDGE=rules"
        ),
        Choice(
            "database",
            without_password(settings.database_url),
            "PostgreSQL: ORCH_DATABASE_URL=postgresql://..." if sqlite else "SQLite: no ORCH_DATABASE_URL",
        ),
        Choice("engine", "langgraph" if settings.engine.use_langgraph else "plain", "nothing else in this version"),
    )


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info[:2] < LEAST_PYTHON:
        return Finding("python", State.FAIL, f"Python {version}", "orch needs Python 3.11 or newer")
    return Finding("python", State.OK, f"Python {version} in {sys.prefix}")


def _missing_folders(settings: Settings) -> list[Path]:
    paths = settings.paths
    return [folder for folder in (paths.data, paths.run, paths.logs, paths.keys) if not folder.is_dir()]


def _folders(settings: Settings, _now: datetime) -> Iterator[Finding]:
    paths = settings.paths
    missing = _missing_folders(settings)
    if missing:
        yield Finding("home", State.FAIL, f"{', '.join(map(str, missing))} not there", "run `orch init`, or correct ORCH_HOME")
        return
    shut = [folder for folder in (paths.data, paths.run, paths.logs) if not os.access(folder, os.W_OK | os.X_OK)]
    if shut:
        yield Finding(
            "home",
            State.FAIL,
            f"{', '.join(map(str, shut))} cannot be written",
            f"make this user the owner: chown -R $(id -u) {paths.home}",
        )
        return
    yield Finding("home", State.OK, f"{paths.home} is there and can be written")


def _keys(settings: Settings, _now: datetime) -> Iterator[Finding]:
    from core.bootstrap import api_key, open_vault

    secret = [path for path in (settings.paths.keys, *settings.paths.keys.glob("*"), settings.paths.home / ".env") if path.exists()]
    open_ones = [path for path in secret if stat.S_IMODE(path.stat().st_mode) & 0o077]
    open_vault(settings)
    api_key(settings)
    if open_ones:
        names = " ".join(map(str, open_ones))
        keys_too = any(path.name != ".env" for path in open_ones)
        yield Finding("keys", State.FAIL if keys_too else State.WARN, f"can be read by others: {names}", f"run: chmod go-rwx {names}")
        return
    yield Finding("keys", State.OK, f"in {settings.paths.keys}, readable by this user alone; back them up apart from the data")


def _database(settings: Settings, _now: datetime) -> Iterator[Finding]:
    from core.storage.schema import revision
    from core.storage.schema_version import newest_revision

    shown = without_password(settings.database_url)
    if settings.database_url.startswith("sqlite:///") and not Path(settings.database_url.removeprefix("sqlite:///")).is_file():
        yield Finding("database", State.FAIL, f"{shown} is not there", "run `orch init`; or restore your backup")
        return
    found, newest = revision(settings.database_url), newest_revision()
    if found is None:
        yield Finding("database", State.FAIL, f"{shown} has no tables", "run `orch init`")
    elif found > newest:
        yield Finding("database", State.FAIL, f"{shown} was written by a newer orch (schema {found})", "start that version")
    elif found != newest:
        yield Finding(
            "database", State.WARN, f"{shown} has schema {found}, and {newest} is current", "`orch start-all` brings it up to date"
        )
    else:
        yield Finding("database", State.OK, f"{shown} answers, schema {found}")


def _disk(home: Path) -> Iterator[Finding]:
    folder = next((place for place in (home, *home.parents) if place.exists()), Path("/"))
    free = shutil.disk_usage(folder).free // 1024 // 1024
    state = State.FAIL if free < DISK_FAIL_MB else State.WARN if free < DISK_WARN_MB else State.OK
    hint = "" if state is State.OK else "recordings and logs need space: free some, or move ORCH_HOME"
    yield Finding("disk", state, f"{free} MB free for {home}", hint)


def _disk_of(settings: Settings, _now: datetime) -> Iterator[Finding]:
    return _disk(settings.paths.home)


def _logs(settings: Settings, _now: datetime) -> Iterator[Finding]:
    folder = settings.paths.logs
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("logs", State.FAIL, f"{folder} cannot be written", f"make this user the owner: chown -R $(id -u) {folder}")
        return
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) // 1024 // 1024
    yield Finding("logs", State.OK, f"{folder} holds {size} MB; each log is rotated at {settings.engine.log_max_mb} MB")


def _daemon(settings: Settings, _now: datetime) -> Iterator[Finding]:
    from workers.launch import status

    try:
        answer = status(settings.paths.run)
    except NotRunning as error:
        yield Finding("daemon", State.WARN, str(error), "see `orch status`, or `orch logs --worker supervisor`")
        return
    if answer is None:
        yield Finding("daemon", State.WARN, "is not running", "start it: orch start-all")
        return
    ill = [f"{row['name']} is {row['state']}" for row in answer["workers"] if row["state"] in {"fatal", "backoff", "hung"}]
    if ill:
        yield Finding("daemon", State.FAIL, ", ".join(ill), "see `orch status`")
        return
    yield Finding("daemon", State.OK, f"running as pid {answer['supervisor']['pid']}")


def _ports(settings: Settings, _now: datetime) -> Iterator[Finding]:
    from workers.preflight import PreflightFailed, bind
    from workers.roster import roster

    supervisor = FileLock(settings.paths.run / LOCK_NAME).holder()
    for worker in roster(settings):
        if worker.listen is None:
            continue
        name = f"port {worker.listen.port}"
        try:
            bind(worker.name, worker.listen).close()
        except PreflightFailed as error:
            holder = re.search(r"\bpid (\d+)\b", str(error))
            if supervisor and holder is not None and _belongs(int(holder[1]), supervisor):
                yield Finding(name, State.OK, f"{worker.name} of this orch listens on it")
            else:
                yield Finding(name, State.FAIL, str(error))
        else:
            if supervisor:
                yield Finding(
                    name, State.WARN, f"nobody listens on it, though orch is running; {worker.name} was meant to", "see `orch status`"
                )
            else:
                yield Finding(name, State.OK, f"free for {worker.name}")


def _belongs(pid: int, supervisor: int) -> bool:
    if pid == supervisor:
        return True
    with suppress(OSError, IndexError):
        # The parent is field 4 of proc_pid_stat(5); the command before it may hold spaces and parentheses.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == supervisor
    return False


def _plans(settings: Settings, _now: datetime) -> Iterator[Finding]:
    from core.bootstrap import plan_library

    library = plan_library(settings)
    names = library.names()
    faulty = []
    for name in names:
        try:
            library.get(name)
        except OrchError as error:
            faulty.append(str(error))
    if faulty:
        yield Finding("plans", State.FAIL, "; ".join(faulty), "mend them; `orch plan check` shows each with its line")
    elif settings.conversations.default_plan not in names:
        chosen = settings.conversations.default_plan
        yield Finding(
            "plans",
            State.FAIL,
            f"the default plan {chosen!r} is not in {settings.paths.plans_dir}",
            f"set ORCH_DEFAULT_PLAN to one of {', '.join(names) or 'its plans'}",
        )
    else:
        yield Finding(
            "plans",
            State.OK,
            f"{len(names)} in {settings.paths.plans_dir}, all correct; the default one is {settings.conversations.default_plan}",
        )


def _speech(settings: Settings, _now: datetime) -> Iterator[Finding]:
    from core.errors import ProviderError

    if settings.providers.speech == "google":
        from core.speech.google.credentials import check_credentials

        problem = check_credentials(settings.vendors.google_credentials) if settings.vendors.google_server is None else None
        if problem is not None:
            yield Finding("google", State.FAIL, problem, "correct it in .env; until then calls run in standard mode")
        else:
            yield Finding("google", State.OK, "the key file is a service account's; whether Google accepts it shows at the start")
        return
    from core.speech.local import EspeakSynthesizer, SphinxRecognizer

    hint = "install it: pip install '.[local-speech]'"
    try:
        spoken = EspeakSynthesizer().synthesize("ready")
    except ProviderError as error:
        yield Finding("voice", State.FAIL, str(error), hint)
    else:
        yield Finding(
            "voice",
            State.OK if spoken else State.FAIL,
            "eSpeak NG speaks" if spoken else "eSpeak NG makes no sound",
            "" if spoken else hint,
        )
    try:
        with tempfile.TemporaryDirectory() as folder:
            SphinxRecognizer(processes=0, folder=Path(folder))
    except ProviderError as error:
        yield Finding("hearing", State.FAIL, str(error), hint)
    else:
        yield Finding("hearing", State.OK, "PocketSphinx is installed; it hears what a plan's hints name, and no free speech")


def _zones(_settings: Settings, now: datetime) -> Iterator[Finding]:
    from core.domain.zones import tzdata_version

    version = tzdata_version()
    age = (now.date() - date(int(version[:4]), 1, 1)).days if version[:4].isdigit() else TZDATA_DAYS + 1
    old = age > TZDATA_DAYS
    yield Finding("time zones", State.WARN if old else State.OK, f"tzdata {version}", "pip install --upgrade tzdata" if old else "")


_OF_THE_HOME = frozenset({"keys", "database", "logs", "clock"})
Check = Callable[[Settings, datetime], Iterator[Finding]]
_CHECKS: tuple[tuple[str, Check], ...] = (
    ("home", _folders),
    ("keys", _keys),
    ("database", _database),
    ("disk", _disk_of),
    ("logs", _logs),
    ("daemon", _daemon),
    ("ports", _ports),
    ("plans", _plans),
    ("speech", _speech),
    ("carrier", check_carrier),
    ("clock", check_clock),
    ("public URL", check_public_url),
    ("time zones", _zones),
)
