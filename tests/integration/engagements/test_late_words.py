"""Words that a media server's death held back: nobody is dialled before they are heard, and they count when they come."""

from __future__ import annotations

from datetime import timedelta

from core.domain.calls import CallState
from core.domain.conversation import ConversationState
from core.domain.outcomes import Outcome
from core.domain.runs import RunState
from core.storage.conversations import TurnRecord
from core.storage.journal import JournalStore
from core.telephony.base import CarrierStatus

RETRY = 30 * 60
SPOOL = "5" * 32


def cut_off(bench, *, window: timedelta = timedelta(hours=4)) -> tuple[str, str]:
    """A call whose media server died in the middle, and that the carrier then ended. Returns call and conversation."""
    call = bench.call(window=window)
    bench.step()
    row = bench.attempt(call)
    bench.says(call, CarrierStatus.IN_PROGRESS, sequence=2)
    assert bench.conversations.redeem_stream(row.id, row.carrier_call_id, 1, SPOOL, bench.clock.now())
    begun = ConversationState.begin(["day"]).to_json()
    conversation = bench.conversations.open(row.id, "daily", "digest", "voice", begun, bench.clock.now())
    greeting = TurnRecord(0, "day", None, "Hello.", bench.clock.now())
    assert bench.conversations.save(conversation, 1, [greeting], begun, None, bench.clock.now())
    bench.clock.advance(10)
    bench.says(call, CarrierStatus.COMPLETED, sequence=3)
    bench.tick(31)
    return call, conversation


def replay(bench, call: str, conversation: str, ended_by: str | None = "complete", *, opted_out: bool = False, attempt: int = 0) -> None:
    """The media server is back, and brings what it had written down."""
    row = bench.attempt(call, attempt)
    if opted_out:
        bench.conversations.opt_out(row.id, "call", bench.clock.now())
    turn = TurnRecord(1, "day", "it was lovely", "Goodbye.", bench.clock.now())
    state = ConversationState.begin(["day"]).heard("it was lovely")
    state = state.answered("it was lovely") if ended_by == "complete" else state
    assert bench.conversations.save(conversation, 1, [turn], state.to_json(), ended_by, bench.clock.now())
    bench.conversations.spool_replayed(SPOOL, bench.clock.now())


def test_nobody_is_dialled_before_the_words_of_their_last_call_are_in(bench) -> None:
    call, _ = cut_off(bench)
    assert bench.attempt(call).outcome == Outcome.DROPPED
    for _ in range(3):
        bench.tick(RETRY)
    assert len(bench.carrier.dials) == 1
    assert bench.verdict(call, "last_words") == [True, False]
    bench.conversations.spool_replayed(SPOOL, bench.clock.now())
    bench.tick(5)
    assert len(bench.carrier.dials) == 2


def test_a_stream_that_was_saved_to_its_end_holds_nobody_up(bench) -> None:
    call, _ = cut_off(bench)
    bench.conversations.stream_saved(bench.attempt(call).id, 1, bench.clock.now())
    bench.tick(RETRY)
    assert len(bench.carrier.dials) == 2


def test_a_replay_from_before_the_stream_says_nothing_about_it(bench) -> None:
    bench.conversations.spool_replayed(SPOOL, bench.clock.now())
    bench.clock.advance(1)
    cut_off(bench)
    bench.tick(RETRY)
    assert len(bench.carrier.dials) == 1
    # Another media server's replay neither.
    bench.conversations.spool_replayed("6" * 32, bench.clock.now())
    bench.tick(RETRY)
    assert len(bench.carrier.dials) == 1


def test_words_that_never_come_are_waited_for_one_day(bench) -> None:
    cut_off(bench, window=timedelta(hours=36))
    bench.tick(23 * 3600)
    assert len(bench.carrier.dials) == 1
    bench.tick(2 * 3600)
    assert len(bench.carrier.dials) == 2


def test_an_opt_out_that_was_only_in_the_spool_ends_the_call(bench) -> None:
    call, conversation = cut_off(bench)
    bench.tick(RETRY)
    replay(bench, call, conversation, "opted_out", opted_out=True)
    bench.step()
    assert bench.attempt(call).outcome == Outcome.ANSWERED
    assert bench.state(call) == CallState.COMPLETED
    bench.tick(RETRY)
    assert len(bench.carrier.dials) == 1


def test_a_talk_that_had_been_completed_is_not_repeated(bench) -> None:
    call, conversation = cut_off(bench)
    assert bench.state(call) == CallState.WAITING_RETRY
    assert bench.view(call).retry_count == 1
    replay(bench, call, conversation)
    bench.step()
    assert bench.attempt(call).outcome == Outcome.ANSWERED
    assert (bench.state(call), bench.view(call).retry_count) == (CallState.COMPLETED, 0)
    assert bench.run(call).state == RunState.COMPLETED
    (entry,) = JournalStore(bench.database).recent()
    assert entry.complete
    assert "it was lovely" in str(entry.body)
    bench.tick(2 * RETRY)
    assert len(bench.carrier.dials) == 1


def test_late_words_of_a_call_that_was_closed_reach_its_journal_and_its_state(bench) -> None:
    call, conversation = cut_off(bench, window=timedelta(minutes=5))
    assert bench.state(call) == CallState.MISSED
    replay(bench, call, conversation)
    bench.step()
    assert bench.state(call) == CallState.COMPLETED
    assert bench.is_over(call)
    assert JournalStore(bench.database).recent()[0].complete


def test_late_words_that_change_nothing_leave_a_closed_call_as_it_was(bench) -> None:
    call, conversation = cut_off(bench, window=timedelta(minutes=5))
    replay(bench, call, conversation, None)
    bench.step()
    assert (bench.state(call), bench.attempt(call).outcome) == (CallState.MISSED, Outcome.DROPPED)
    assert bench.is_over(call)
    assert "it was lovely" in str(JournalStore(bench.database).recent()[0].body)


def test_late_words_of_an_earlier_attempt_touch_only_its_own_record(bench) -> None:
    call, conversation = cut_off(bench)
    bench.conversations.spool_replayed(SPOOL, bench.clock.now())
    bench.tick(RETRY)
    assert len(bench.carrier.dials) == 2
    replay(bench, call, conversation)
    bench.step()
    assert bench.attempt(call, 0).outcome == Outcome.ANSWERED
    assert bench.attempt(call, 1).outcome is None
    assert bench.state(call) == CallState.DIALING
    bench.says(call, CarrierStatus.BUSY, sequence=9)
    bench.step()
    assert bench.state(call) == CallState.WAITING_RETRY
    assert bench.view(call).retry_count == 2


def test_words_brought_twice_are_heard_once(bench) -> None:
    call, conversation = cut_off(bench)
    replay(bench, call, conversation)
    bench.step()
    replay(bench, call, conversation)
    bench.step()
    assert bench.is_over(call)
    assert bench.state(call) == CallState.COMPLETED
    assert len(JournalStore(bench.database).recent()) == 1
