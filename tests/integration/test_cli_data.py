"""The commands that deal with data, as a person runs them: no daemon, one installation of their own."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import stat
import subprocess
import sysconfig
import threading
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.bootstrap import INSTALLATION_LABEL
from core.domain.calls import AttemptStatus, CallState, Origin
from core.recordings.vault import Keyring, Vault
from core.storage.calls import create_call, set_state
from core.storage.contacts import ContactStore
from core.storage.conversations import ConversationStore
from core.storage.database import Database, new_id
from core.storage.journal import JournalStore
from core.storage.runs import end
from core.storage.tables import Attempt, Contact, Conversation, Run, ScheduledCall

PROGRAM = Path(sysconfig.get_path("scripts")) / "orch"
# All of the day, everywhere: these tests run at any hour.
ANY_HOUR = {"ORCH_PERMITTED_FROM": "00:00", "ORCH_PERMITTED_UNTIL": "23:59"}


class Installation:
    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.environment = {**os.environ, "ORCH_HOME": str(home), "XDG_CONFIG_HOME": str(home / "none"), **settings}

    def __call__(self, *words: str, code: int = 0, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [PROGRAM, *words],
            env={**self.environment, **settings},
            cwd=self.home.parent,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ran.returncode == code, f"orch {' '.join(words)}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        assert "Traceback" not in ran.stderr
        return ran

    def json(self, *words: str, code: int = 0, **settings: str) -> Any:
        return json.loads(self(*words, "--json", code=code, **settings).stdout)

    def refused(self, *words: str, code: int, **options: Any) -> str:
        """One line on stderr, nothing on stdout."""
        ran = self(*words, code=code, **options)
        assert ran.stdout == ""
        assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr
        return ran.stderr

    def database(self) -> closing[Database]:
        return closing(Database(f"sqlite:///{self.home / 'data' / 'orch.db'}", Vault(Keyring.load(self.home / "keys"))))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home set up once: copying it takes no second."""
    home = tmp_path_factory.mktemp("template") / "home"
    Installation(home)("init")
    return home


@pytest.fixture
def orch(tmp_path: Path, template: Path) -> Installation:
    shutil.copytree(template, tmp_path / "home")
    return Installation(tmp_path / "home", **ANY_HOUR)


def add(database: Database, name: str, number: int) -> str:
    return ContactStore(database).add(
        name=name,
        phone=f"+120255501{number:02d}",
        timezone="America/New_York",
        pronunciation=None,
        plan=None,
        simulated=True,
        now=datetime.now(UTC),
    )


def unresolved_call(
    database: Database, contact_id: str, now: datetime, *, key: str = "test", state: CallState = CallState.UNRESOLVED
) -> str:
    with database.write() as session:
        contact = session.get_one(Contact, contact_id)
        call_id = create_call(
            session,
            contact=contact,
            origin=Origin.NOW,
            origin_key=key,
            plan="daily-reflection",
            opens_at=now,
            closes_at=None,
            now=now,
            simulated=True,
        )
        assert call_id is not None
        session.flush()
        run = session.query(Run).filter_by(subject_id=call_id).one()
        session.add(
            Attempt(
                id=new_id(),
                scheduled_call_id=call_id,
                run_id=run.id,
                contact_id=contact_id,
                phone=contact.phone,
                ordinal=1,
                carrier="simulator",
                mode="enhanced",
                status=AttemptStatus.UNKNOWN,
                reason="time-out",
                owner_boot="h|b",
                owner_pid=1,
                owner_started="1",
                created_at=now,
                send_before=now,
                dial_until=now,
            )
        )
        set_state(session.get_one(ScheduledCall, call_id), state, "nobody knows", now)
        end(run, "completed", now)  # type: ignore[arg-type]
    return call_id


def journal_entry(database: Database, contact_id: str, at: datetime, answer: str) -> None:
    call_id = unresolved_call(database, contact_id, at, key=f"journal:{at.isoformat()}")
    with database.write() as session:
        attempt = session.query(Attempt).filter_by(scheduled_call_id=call_id).one()
        attempt.status = AttemptStatus.ENDED
        attempt.ended_at = at
        attempt_id = attempt.id
    conversation = ConversationStore(database).open(attempt_id, "daily-reflection", "d", "voice", {}, at)
    body = {
        "plan": "daily-reflection",
        "title": "Daily reflection",
        "complete": True,
        "ended_by": "complete",
        "answers": [{"checkpoint": "mood", "prompt": "How are you?", "answer": answer, "complete": True}],
        "transcript": [{"turn": 0, "at": at.isoformat(), "checkpoint": "mood", "contact": answer, "orch": "Goodbye."}],
    }
    with database.write() as session:
        JournalStore(database).write_in(session, session.get_one(Conversation, conversation), body, True, at)


def test_a_file_of_contacts_is_imported_wholly_or_not_at_all(orch: Installation, tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text("phone;name;timezone;days;start;end\n+12025550101;José 王小明;America/New_York;mon-fri;08:00;09:00\nx;Bob;UTC;;;\n")
    ran = orch("contact", "import", str(people), code=1)
    assert ran.stdout == ""
    assert ran.stderr.splitlines()[0].startswith(f"{people}: line 3: phone number must start with +")
    assert ran.stderr.splitlines()[-1].startswith("orch: 1 faulty line in ")
    told = orch.json("contact", "import", str(people), code=1)
    assert (told["imported"], told["rows"], [(f["line"], f["column"]) for f in told["faults"]]) == (0, 2, [(3, "phone")])
    assert orch.json("contact", "list") == []
    good = people.read_text().replace("x;Bob", "+12025550102;Bob")
    assert "Nothing was stored" in orch("contact", "import", "-", "--dry-run", stdin=good).stdout
    assert orch("contact", "import", "-", stdin=good).stdout == "Imported 2 contacts, 1 with a call window\n"
    assert {each["name"] for each in orch.json("contact", "list")} == {"José 王小明", "Bob"}
    assert "line 2: phone number is José 王小明 (" in orch("contact", "import", "-", stdin=good, code=1).stderr


def test_a_contact_is_paused_and_resumed_and_says_so(orch: Installation) -> None:
    with orch.database() as database:
        add(database, "Ada", 1)
    assert "is paused" in orch("contact", "pause", "Ada", "--reason", "on holiday").stdout
    shown = orch("contact", "show", "Ada").stdout
    assert "PAUSED since" in shown
    assert "on holiday" in shown
    assert orch("contact", "list").stdout.splitlines()[1].endswith("paused")
    told = orch.json("call", "now", "Ada", "--dry-run", code=1)
    assert [v["detail"] for v in told["verdicts"] if v["rule"] == "contact"] == ["the contact is paused: on holiday"]
    assert "contact" in told["wait_for"]
    assert orch.json("contact", "resume", "Ada")["paused_at"] is None


def test_a_dry_run_shows_every_verdict(orch: Installation) -> None:
    with orch.database() as database:
        add(database, "Ada", 1)
    told = orch.json("call", "now", "Ada", "--dry-run", code=1)
    # Without a daemon our own URL does not answer; nothing else stands in the way.
    assert [v["rule"] for v in told["verdicts"] if not v["allowed"]] == ["public_url"]
    assert (told["conclusion"], told["would_dial"], told["wait_for"]) == ("wait", False, ["public_url"])
    shown = orch("call", "now", "Ada", "--dry-run", code=1).stdout.splitlines()
    assert len(shown) == len(told["verdicts"]) + 1
    assert shown[-1] == "Would wait until our public URL answers."
    assert "--wait" in orch.refused("call", "now", "Ada", "--dry-run", "--wait", code=2)


def test_a_dry_run_that_would_dial_ends_well(orch: Installation) -> None:
    name = Vault(Keyring.load(orch.home / "keys")).derive(INSTALLATION_LABEL).hex()[:16]
    with orch.database() as database, answering({"/health": (200, {"installation": name})}) as port:
        ada = add(database, "Ada", 1)
        here = {"ORCH_PORT": str(port), "ORCH_PUBLIC_MEDIA_URL": f"ws://127.0.0.1:{port}"}
        told = orch.json("call", "now", "Ada", "--dry-run", **here)
        assert (told["conclusion"], told["would_dial"]) == ("dial_now", True)
        assert told["ring_until"] is not None
        unresolved_call(database, ada, datetime.now(UTC), state=CallState.DIALING)
        told = orch.json("call", "now", "Ada", "--dry-run", **here, code=1)
        assert told["open_call"] is not None


def test_an_unresolved_call_is_resolved_by_hand_once(orch: Installation) -> None:
    with orch.database() as database:
        call = unresolved_call(database, add(database, "Ada", 1), datetime.now(UTC) - timedelta(days=2))
    assert "orch call resolve" in orch("call", "show", call[:8]).stdout
    assert "never_placed" in orch.refused("call", "resolve", call, "--as", "rang", code=2)
    told = orch("call", "resolve", call[:8], "--as", "no_answer", "--note", "seen in the console")
    # No log line of ours is mixed into the answer.
    assert told.stdout.startswith(f"call {call[:8]} to Ada")
    assert len(told.stdout.splitlines()) == 2
    shown = orch("call", "show", call[:8]).stdout
    assert "settled by hand" in shown
    assert "note=seen in the console" in shown


def test_calls_are_found_by_contact_state_and_time(orch: Installation) -> None:
    now = datetime.now(UTC)
    with orch.database() as database:
        ada, bob = add(database, "Ada", 1), add(database, "Bob", 2)
        old = unresolved_call(database, ada, now - timedelta(days=9), key="old", state=CallState.FAILED)
        with database.write() as session:
            session.query(Attempt).delete()
        new = unresolved_call(database, ada, now - timedelta(hours=1), key="new")
        other = unresolved_call(database, bob, now - timedelta(hours=2), key="other")

    def listed(*words: str) -> list[str]:
        return [call["id"] for call in orch.json("call", "list", *words)]

    assert listed() == [new, other, old]
    assert listed("--contact", "ada") == [new, old]
    assert listed("--since", "90m") == [new]
    assert listed("--state", "failed", "--limit", "5") == [old]


def test_names_that_fit_several_are_asked_about_in_one_line(orch: Installation) -> None:
    with orch.database() as database:
        add(database, "Ada", 1)
        add(database, "Ada", 2)
        with database.write() as session:
            session.query(Contact).filter_by(phone="+12025550102").one().name = "Ada\x1b[2J\u202e"
            for number in range(2):
                key = f"{'ab' * 15}{number:02d}"
                session.add(
                    Contact(
                        id=key,
                        name=f"Same {number}",
                        phone=f"+1202555012{number}",
                        timezone="UTC",
                        active=True,
                        created_at=datetime.now(UTC),
                        updated_at=datetime.now(UTC),
                    )
                )
    said = orch.refused("contact", "show", "abab", code=1)
    assert "Same 0 +1202***0120" in said
    assert "Same 1" in said
    assert orch.json("contact", "show", "+1 (202) 555-0121")["name"] == "Same 1"
    # What a terminal would obey does not reach it.
    shown = orch("contact", "list").stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_the_journal_is_exported_as_markdown_json_and_json_lines(orch: Installation, tmp_path: Path) -> None:
    with orch.database() as database:
        ada, bob = add(database, "Ada", 1), add(database, "Bob <b>", 2)
        for number, (who, day) in enumerate([(ada, 1), (bob, 2), (ada, 3)]):
            journal_entry(database, who, datetime(2026, 11, day, 15, 0, tzinfo=UTC), f"answer *{number}*")
    document = orch("journal", "export").stdout
    assert [line for line in document.splitlines() if line.startswith("## ")] == [
        "## Ada, 2026-11-01 10:00 America/New_York",
        "## Bob \\<b\\>, 2026-11-02 10:00 America/New_York",
        "## Ada, 2026-11-03 10:00 America/New_York",
    ]
    assert "answer \\*0\\*" in document
    out = tmp_path / "ada.json"
    assert "Exported 2 journal entries" in orch("journal", "export", "--contact", "Ada", "--out", str(out)).stderr
    exported = json.loads(out.read_text())
    assert [entry["body"]["answers"][0]["answer"] for entry in exported["entries"]] == ["answer *0*", "answer *2*"]
    assert exported["entries"][0] == orch.json("journal", "show", exported["entries"][0]["id"])
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "--force" in orch.refused("journal", "export", "--out", str(out), code=2)
    lines = orch("journal", "export", "--format", "jsonl", "--since", "2026-11-02", "--until", "2026-11-03T12:00:00Z").stdout
    assert [json.loads(line)["contact_name"] for line in lines.splitlines()] == ["Bob <b>"]
    orch("journal", "export", "--format", "jsonl", "--since", "2027-01-01", "--out", str(out), "--force")
    assert out.read_text() == ""
    assert "markdown, json, jsonl" in orch.refused("journal", "export", "--format", "pdf", code=2)
    assert list(tmp_path.glob(".orch-export-*")) == []


# The doctor


class Answers(http.server.BaseHTTPRequestHandler):
    """Canned JSON by path; everything else is 404."""

    def do_GET(self) -> None:
        status, body = self.server.answers.get(self.path, (404, {"code": 20404}))  # type: ignore[attr-defined]
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


class answering:  # noqa: N801 - used as a function
    def __init__(self, answers: dict[str, tuple[int, Any]]) -> None:
        self._answers = answers

    def __enter__(self) -> int:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self._server.answers = self._answers  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return int(self._server.server_address[1])

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def states(told: dict[str, Any]) -> dict[str, str]:
    return {each["check"]: each["state"] for each in told["checks"]}


@pytest.fixture
def free_ports() -> dict[str, str]:
    names = ("ORCH_PORT", "ORCH_MEDIA_PORT", "ORCH_SIMULATOR_PORT")
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in names]
    return {name: str(port) for name, port in zip(names, held, strict=True)}


def test_the_doctor_finds_a_fresh_installation_well(orch: Installation, free_ports: dict[str, str]) -> None:
    orch.environment |= free_ports
    told = orch.json("doctor")
    assert told["ok"]
    assert {part: each["chosen"] for part, each in told["chosen"].items()} == {
        "carrier": "simulator",
        "speech": "local",
        "judge": "rules",
        "database": f"sqlite:///{orch.home}/data/orch.db",
        "engine": "plain",
    }
    found = states(told)
    assert found.pop("daemon") == "warn"
    assert set(found.values()) <= {"ok", "warn"}
    assert {"keys", "database", "plans", "voice", "hearing", "clock", "disk"} <= set(found)


def test_the_doctor_makes_nothing_where_orch_was_never_set_up(tmp_path: Path, free_ports: dict[str, str]) -> None:
    nowhere = Installation(tmp_path / "nowhere", **free_ports)
    told = nowhere.json("doctor", code=1)
    assert [each["check"] for each in told["checks"] if each["state"] == "fail"] == ["home"]
    assert "orch init" in next(each["hint"] for each in told["checks"] if each["check"] == "home")
    assert not nowhere.home.exists()


def test_the_doctor_names_what_fails_and_what_to_do(orch: Installation, tmp_path: Path, free_ports: dict[str, str]) -> None:
    (orch.home / "keys" / "api.key").chmod(0o644)
    plans = tmp_path / "plans"
    plans.mkdir()
    (plans / "broken.yaml").write_text("name: broken\n")
    with orch.database() as database, database.write() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with answering({}) as port:
        shown = orch("doctor", code=1, **free_ports | {"ORCH_PLANS_DIR": str(plans), "ORCH_PORT": str(port)}).stdout
    failed = [line.split()[1] for line in shown.splitlines() if line.startswith("fail")]
    assert failed == ["keys", "database", "port", "plans"]
    for fragment in ("chmod go-rwx", "newer orch", f"port {port} for webhook-server is taken by pid {os.getpid()}", "orch plan check"):
        assert fragment in shown
    told = orch.json("doctor", code=1, ORCH_PORT="http")
    assert states(told)["settings"] == "fail"
