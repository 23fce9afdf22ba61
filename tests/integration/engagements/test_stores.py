"""The stores: who is found, what is refused, what is sealed, and what counts once."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, time, timedelta

import pytest
from sqlalchemy import MetaData, create_engine, select

from core.domain.calls import AttemptStatus
from core.domain.conversation import ConversationState
from core.domain.windows import LocalWindow
from core.errors import Conflict, InvalidInput, NotFound, OrchError
from core.storage.conversations import TurnRecord, turn_context
from core.storage.database import Database
from core.storage.jobs import JobStore
from core.storage.journal import JournalStore
from core.storage.numbers import is_suppressed
from core.storage.tables import Attempt, Contact, Turn
from core.telephony.base import CarrierStatus

WORDS = "the heron stood in the river"
OURS = "tell me more about that heron"
DAILY = LocalWindow(frozenset(range(7)), None, time(9), time(12))


def add(bench, name: str, number: int) -> str:
    return bench.contacts.add(
        name=name, phone=f"+120255501{number:02d}", timezone="UTC", pronunciation=None, plan=None, simulated=False, now=bench.noon
    )


# Contacts and windows


def test_a_contact_is_found_by_id_prefix_number_and_name(bench) -> None:
    ada = add(bench, "Ada Lovelace", 1)
    for wanted in (ada, ada[:12], "+12025550101", "+1 (202) 555-0101", "Ada Lovelace", "ada  lovelace "):
        assert bench.contacts.find(wanted).id == ada


def test_wildcards_and_nothing_find_nobody(bench) -> None:
    add(bench, "Ada", 1)
    for wanted in ("%", "_da", "A%", "", "Bob", "\\"):
        with pytest.raises(NotFound):
            bench.contacts.find(wanted)


def test_two_of_one_name_are_asked_about(bench) -> None:
    first, second = add(bench, "Ada", 1), add(bench, "Ada", 2)
    with pytest.raises(Conflict) as caught:
        bench.contacts.find("Ada")
    assert first[:8] in str(caught.value)
    assert second[:8] in str(caught.value)
    assert bench.contacts.find("+12025550102").id == second


def test_a_name_comes_before_the_beginning_of_somebody_elses_id(bench) -> None:
    with bench.database.write() as session:
        for name, key in (("Ada", "f" * 32), ("Bob", "ada" + "0" * 29)):
            session.add(
                Contact(id=key, name=name, phone="+12025550101", timezone="UTC", active=True, created_at=bench.noon, updated_at=bench.noon)
            )
    assert bench.contacts.find("Ada").name == "Ada"
    assert bench.contacts.find("ada0").name == "Bob"


def test_the_same_person_twice_is_refused(bench) -> None:
    add(bench, "Ada", 1)
    with pytest.raises(Conflict):
        add(bench, "Ada", 1)
    add(bench, "Bob", 1)


def test_windows_are_added_once_listed_and_removed(bench) -> None:
    ada = add(bench, "Ada", 1)
    window = bench.contacts.add_window(ada, DAILY, None, bench.noon)
    assert window.next_opens_at == datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
    with pytest.raises(Conflict, match="already"):
        bench.contacts.add_window(ada, DAILY, None, bench.noon)
    assert [view.id for view in bench.contacts.windows(ada)] == [window.id]
    bench.contacts.remove_window(window.id[:10], bench.noon)
    assert bench.contacts.windows(ada) == []
    with pytest.raises(NotFound):
        bench.contacts.remove_window(window.id, bench.noon)
    bench.contacts.add_window(ada, DAILY, None, bench.noon)


def test_a_window_that_is_over_is_refused(bench) -> None:
    ada = add(bench, "Ada", 1)
    with pytest.raises(Conflict, match="over already"):
        bench.contacts.add_window(ada, LocalWindow(None, date(2026, 11, 21), time(9), time(12)), None, bench.noon)
    with pytest.raises(InvalidInput):
        LocalWindow(None, None, time(9), time(12))


def test_naive_times_are_refused(bench) -> None:
    with pytest.raises(Exception, match="naive datetime"):
        bench.contacts.add(
            name="Ada",
            phone="+12025550101",
            timezone="UTC",
            pronunciation=None,
            plan=None,
            simulated=False,
            now=datetime(2026, 1, 1),  # noqa: DTZ001
        )


# Calls


def call_now(bench, contact: str, request: str) -> str:
    return bench.calls.call_now(contact, "daily", request_id=request, simulated=False, closes_at=None, now=bench.noon)


def test_calling_now_is_one_call_a_request_and_one_open_call_a_contact(bench) -> None:
    ada = add(bench, "Ada", 1)
    call = call_now(bench, ada, "r1")
    assert call_now(bench, ada, "r1") == call
    with pytest.raises(Conflict, match="open call already"):
        call_now(bench, ada, "r2")
    bench.calls.cancel(call, bench.noon)
    bench.step()
    assert call_now(bench, ada, "r2") != call
    with pytest.raises(Conflict, match="over already"):
        bench.calls.cancel(call, bench.noon)


def test_requests_at_once_make_one_call(bench) -> None:
    ada = add(bench, "Ada", 1)
    go = threading.Barrier(6)
    refused = []

    def ask(number: int) -> None:
        go.wait()
        try:
            call_now(bench, ada, f"r{number}")
        except Conflict as error:
            refused.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 5
    assert len(bench.calls.recent()) == 1


def test_a_call_is_found_by_its_id_its_attempts_and_the_carriers_id(bench) -> None:
    call = bench.call()
    bench.step()
    attempt = bench.attempt(call)
    for wanted in (call, call[:12], attempt.id, attempt.carrier_call_id):
        assert bench.calls.find(wanted).id == call
    with pytest.raises(NotFound):
        bench.calls.find("%")


# Conversations


@pytest.fixture
def talking(bench):
    """A call somebody has picked up: its attempt and conversation."""
    call = bench.call()
    bench.step()
    attempt = bench.attempt(call)
    bench.says(call, CarrierStatus.IN_PROGRESS, sequence=1)
    assert bench.conversations.redeem_stream(attempt.id, attempt.carrier_call_id, 1, "spool", bench.noon)
    conversation = bench.conversations.open(attempt.id, "daily", "digest", "voice", state("first"), bench.noon)
    return call, attempt, conversation


def state(word: str) -> dict:
    return ConversationState.begin(["day"]).heard(word).to_json()


def turn(ordinal: int, said: str | None = WORDS) -> TurnRecord:
    at = datetime(2026, 11, 21, 17, 0, tzinfo=UTC)
    return TurnRecord(ordinal, "day", said, OURS, at, {"heard_ms": 12})


def turns(bench, conversation: str) -> list[TurnRecord]:
    with bench.database.read() as session:
        return bench.conversations.turns_in(session, conversation)


def test_a_stream_token_is_used_up_once(bench) -> None:
    call = bench.call()
    bench.step()
    attempt = bench.attempt(call)
    sid = attempt.carrier_call_id
    redeem = bench.conversations.redeem_stream
    assert not redeem(attempt.id, "CAsomebodyelse", 1, "spool", bench.noon)
    assert not redeem(attempt.id, sid, 2, "spool", bench.noon)
    assert not redeem("0" * 32, sid, 1, "spool", bench.noon)
    assert redeem(attempt.id, sid, 1, "spool", bench.noon)
    assert not redeem(attempt.id, sid, 1, "spool", bench.noon)
    assert redeem(attempt.id, sid, 2, "spool", bench.noon)
    assert bench.attempt(call).status == AttemptStatus.IN_PROGRESS
    bench.says(call, CarrierStatus.COMPLETED, sequence=9)
    assert bench.attempt(call).outcome
    assert not redeem(attempt.id, sid, 3, "spool", bench.noon)


def test_one_token_used_by_many_at_once_opens_one_stream(bench) -> None:
    call = bench.call()
    bench.step()
    attempt = bench.attempt(call)
    go = threading.Barrier(6)
    answers = []

    def connect() -> None:
        go.wait()
        answers.append(bench.conversations.redeem_stream(attempt.id, attempt.carrier_call_id, 1, "spool", bench.noon))

    threads = [threading.Thread(target=connect) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 5 + [True]


def test_a_turn_saved_twice_is_kept_once(bench, talking) -> None:
    _, attempt, conversation = talking
    save = bench.conversations.save
    assert save(conversation, 1, [turn(0, None), turn(1)], state("a"), None, bench.noon)
    assert save(conversation, 1, [turn(1, "something else"), turn(2)], state("b"), None, bench.noon)
    assert [(kept.ordinal, kept.said) for kept in turns(bench, conversation)] == [(0, None), (1, WORDS), (2, WORDS)]
    context = bench.conversations.context(attempt.id)
    assert (context.conversation_id, context.next_turn, context.state) == (conversation, 3, state("b"))


def test_an_older_stream_can_no_longer_save(bench, talking) -> None:
    _, attempt, conversation = talking
    assert bench.conversations.redeem_stream(attempt.id, attempt.carrier_call_id, 2, "spool", bench.noon)
    assert bench.conversations.save(conversation, 1, [turn(1)], state("old"), "complete", bench.noon) is False
    assert turns(bench, conversation) == []
    assert bench.conversations.context(attempt.id).conversation_state == "in_progress"
    assert bench.conversations.save(conversation, 2, [turn(1)], state("new"), None, bench.noon)


def test_who_ended_it_first_stands(bench, talking) -> None:
    _, attempt, conversation = talking
    bench.conversations.save(conversation, 1, [], state("a"), "complete", bench.noon)
    bench.conversations.save(conversation, 1, [], state("a"), "hung_up", bench.noon)
    assert bench.conversations.context(attempt.id).conversation_state == "complete"


def test_a_conversation_is_begun_once(bench, talking) -> None:
    _, attempt, conversation = talking
    assert bench.conversations.open(attempt.id, "daily", "digest", "voice", state("second"), bench.noon) == conversation
    assert bench.conversations.context(attempt.id).state == state("first")
    with pytest.raises(NotFound):
        bench.conversations.save("0" * 32, 1, [], state("a"), None, bench.noon)


def test_an_opt_out_in_the_call_holds_at_once_and_for_the_number(bench, talking) -> None:
    call, attempt, _ = talking
    bench.conversations.opt_out(attempt.id, "call", bench.noon)
    with bench.database.read() as session:
        assert is_suppressed(session, attempt.phone)
    twin = bench.contact(int(attempt.phone[-2:]))
    again = bench.call(twin)
    bench.says(call, CarrierStatus.COMPLETED, sequence=5)
    bench.tick(3600)
    assert bench.verdict(again, "do_not_call") == [False]
    assert len(bench.carrier.dials) == 1


def test_words_are_nowhere_to_be_read_in_the_database(bench, talking) -> None:
    call, _, conversation = talking
    bench.conversations.save(conversation, 1, [turn(0, None), turn(1)], state(WORDS), "complete", bench.noon)
    bench.says(call, CarrierStatus.COMPLETED, sequence=5)
    bench.step()
    (entry,) = JournalStore(bench.database).recent()
    assert WORDS in str(entry.body)
    raw = everything(bench.database)
    # The number is not speech, and shows that the search would find what is there.
    assert bench.view(call).phone.encode() in raw
    for words in (WORDS, OURS, "heron"):
        assert words.encode() not in raw


def test_a_sealed_turn_opens_nowhere_else(bench, talking) -> None:
    _, _, conversation = talking
    bench.conversations.save(conversation, 1, [turn(0), turn(1)], state("a"), None, bench.noon)
    with bench.database.read() as session:
        sealed = session.scalars(select(Turn.said_sealed).where(Turn.ordinal == 1)).one()
    assert bench.database.open_text(sealed, turn_context(conversation, 1)) == WORDS
    with pytest.raises(OrchError):
        bench.database.open_text(sealed, turn_context(conversation, 0))


def test_a_process_without_keys_reads_no_speech(bench, talking) -> None:
    _, attempt, _ = talking
    blind = Database(bench.database.url)
    with blind.read() as session:
        assert session.get(Attempt, attempt.id) is not None
    with pytest.raises(OrchError, match="without encryption keys"):
        type(bench.conversations)(blind).context(attempt.id)
    blind.close()


def test_journal_entries_are_found_by_their_call_and_by_prefix(bench, talking) -> None:
    call, _, conversation = talking
    bench.conversations.save(conversation, 1, [turn(1)], state(WORDS), "complete", bench.noon)
    bench.says(call, CarrierStatus.COMPLETED, sequence=5)
    journal = JournalStore(bench.database)
    (entry,) = journal.recent()
    for wanted in (entry.id, entry.id[:10], call, call[:10]):
        assert journal.find(wanted).id == entry.id
    with pytest.raises(NotFound):
        journal.find("%")


# Triggers


def test_a_trigger_is_taken_once_and_expires_when_nobody_takes_it(bench) -> None:
    jobs = JobStore(bench.database)
    first = jobs.request("call_dispatch", "call-scheduler", "test", bench.noon)
    assert jobs.take("window-scheduler", bench.noon) == []
    assert [taken.id for taken in jobs.take("call-scheduler", bench.noon)] == [first]
    assert jobs.take("call-scheduler", bench.noon) == []
    jobs.finish(first, True, "done", bench.noon)
    assert jobs.get(first).state == "done"
    late = jobs.request("call_dispatch", "call-scheduler", "test", bench.noon)
    assert jobs.take("call-scheduler", bench.noon + timedelta(seconds=61)) == []
    assert jobs.get(late).state == "expired"


def everything(database: Database) -> bytes:
    """All bytes a thief of the disk would have."""
    if database.path is not None:
        return b"".join(path.read_bytes() for path in database.path.parent.glob(f"{database.path.name}*"))
    engine = create_engine(database.url)
    tables = MetaData()
    tables.reflect(engine)
    found = b""
    with engine.connect() as connection:
        for table in tables.sorted_tables:
            for row in connection.execute(select(table)):
                found += b"\x00".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    engine.dispose()
    return found
