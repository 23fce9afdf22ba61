"""An engagement from its dial to its end: retries, settlement, and what must stop ringing."""

from __future__ import annotations

from dataclasses import replace
from datetime import time, timedelta

import pytest

from core.calls.settlement import Applied
from core.domain.calls import AttemptStatus, CallState
from core.domain.conversation import ConversationState
from core.domain.outcomes import Outcome
from core.domain.retries import RetryPolicy
from core.domain.runs import RunState
from core.domain.windows import LocalWindow
from core.storage.contacts import ContactStore
from core.storage.conversations import TurnRecord
from core.storage.journal import JournalStore
from core.storage.numbers import suppress
from core.storage.problems import ProblemStore
from core.storage.tables import Attempt
from core.telephony.base import CarrierStatus, NotPlaced, Unknown
from core.windows.scheduler import WindowScheduler

RETRY = 30 * 60


def answer(bench, call: str) -> str:
    """The contact picks up: our voice webhook is served and the stream begins. Returns the conversation."""
    row = bench.attempt(call)
    bench.says(call, CarrierStatus.IN_PROGRESS, sequence=2)
    bench.conversations.served(row.id, row.carrier_call_id, bench.clock.now())
    assert bench.conversations.redeem_stream(row.id, row.carrier_call_id, 1, "spool", bench.clock.now())
    return bench.conversations.open(row.id, "daily", "digest", "voice", ConversationState.begin(["day"]).to_json(), bench.clock.now())


def talk(bench, conversation: str, ended_by: str | None = "complete") -> None:
    turns = [
        TurnRecord(0, "day", None, "Hello.", bench.clock.now()),
        TurnRecord(1, "day", "it was lovely", "Goodbye.", bench.clock.now()),
    ]
    state = ConversationState.begin(["day"]).heard("it was lovely").answered("it was lovely").to_json()
    assert bench.conversations.save(conversation, 1, turns, state, ended_by, bench.clock.now())


def test_an_answered_call_is_completed_and_journaled_once(bench) -> None:
    call = bench.call()
    bench.step()
    talk(bench, answer(bench, call))
    assert bench.state(call) == CallState.IN_PROGRESS
    for _ in range(3):
        bench.says(call, CarrierStatus.COMPLETED, sequence=3)
        bench.step()
    assert bench.state(call) == CallState.COMPLETED
    assert bench.attempt(call).outcome == Outcome.ANSWERED
    (entry,) = JournalStore(bench.database).recent()
    assert "it was lovely" in str(entry.body)
    assert bench.run(call).state == RunState.COMPLETED
    bench.tick(86400)
    assert len(bench.carrier.dials) == 1


def test_last_words_that_are_late_still_reach_the_journal(bench) -> None:
    call = bench.call()
    bench.step()
    conversation = answer(bench, call)
    bench.says(call, CarrierStatus.COMPLETED, sequence=3)
    assert bench.attempt(call).outcome is None
    bench.clock.advance(1)
    talk(bench, conversation)
    bench.step()
    assert bench.attempt(call).outcome == Outcome.ANSWERED
    assert "it was lovely" in str(JournalStore(bench.database).recent()[0].body)


def test_a_talk_whose_voice_webhook_left_no_note_was_a_talk_all_the_same(bench) -> None:
    call = bench.call()
    bench.step()
    talk(bench, answer(bench, call))
    with bench.database.write() as session:
        session.get_one(Attempt, bench.attempt(call).id).voice_served_at = None
    bench.says(call, CarrierStatus.COMPLETED, sequence=3)
    bench.step()
    assert bench.attempt(call).outcome == Outcome.ANSWERED


def test_a_retry_keeps_to_the_hours_of_the_zone_its_contact_moved_to(bench) -> None:
    """Noon in New York is nine in Los Angeles: the window, twelve to one, has not opened there."""
    contacts, now = ContactStore(bench.database), bench.clock.now()
    contact = bench.contact()
    contacts.add_window(contact, LocalWindow(frozenset(range(7)), None, time(11, 30), time(13, 0)), None, now)
    opened = WindowScheduler(bench.database, bench.plans, default_plan="daily", simulated=False).tick(now).opened
    contacts.move(contact, "America/Los_Angeles", now)
    bench.step()
    assert (opened, bench.carrier.dials) == (1, [])


def test_a_dead_media_server_does_not_keep_a_call_open(bench) -> None:
    call = bench.call()
    bench.step()
    talk(bench, answer(bench, call), ended_by=None)
    bench.says(call, CarrierStatus.COMPLETED, sequence=3)
    bench.step()
    assert bench.attempt(call).outcome is None
    bench.tick(30)
    assert bench.attempt(call).outcome == Outcome.DROPPED
    assert "it was lovely" in str(JournalStore(bench.database).recent()[0].body)


def test_completed_without_our_voice_webhook_is_no_answer_of_ours(bench) -> None:
    call = bench.call()
    bench.step()
    bench.says(call, CarrierStatus.COMPLETED)
    bench.step()
    assert bench.attempt(call).outcome == Outcome.DROPPED
    assert bench.state(call) == CallState.WAITING_RETRY


def test_repeated_and_reordered_callbacks_settle_once(bench) -> None:
    call = bench.call()
    bench.step()
    sid = bench.attempt(call).carrier_call_id
    assert bench.says(call, CarrierStatus.BUSY, sequence=3) is Applied.STORED
    assert bench.says(call, CarrierStatus.BUSY, sequence=3) is Applied.DUPLICATE
    settled = bench.attempt(call)
    assert bench.says(call, CarrierStatus.RINGING, sequence=1) is Applied.STORED
    assert bench.says(call, CarrierStatus.IN_PROGRESS, sequence=2) is Applied.STORED
    assert bench.says(call, CarrierStatus.NO_ANSWER, sequence=4) is Applied.STORED
    assert bench.says(call, CarrierStatus.RINGING, sid="CAother", sequence=9) is Applied.FOREIGN_CALL
    after = bench.attempt(call)
    assert (after.outcome, after.status, after.settled_at, after.carrier_call_id) == (
        Outcome.BUSY,
        AttemptStatus.ENDED,
        settled.settled_at,
        sid,
    )
    bench.step()
    assert bench.view(call).retry_count == 1


def test_retries_go_by_the_intervals_and_then_the_call_is_missed(bench) -> None:
    bench.policy = RetryPolicy(3, (timedelta(minutes=30), timedelta(hours=1)))
    bench.change(min_gap=timedelta(0))
    call = bench.call(window=timedelta(hours=4))
    bench.step()
    # 30 minutes, then the last interval repeats.
    for number, pause in enumerate((1800, 3600, 3600), start=2):
        bench.says(call, CarrierStatus.NO_ANSWER)
        bench.step()
        assert bench.state(call) == CallState.WAITING_RETRY
        bench.tick(pause - 1)
        assert len(bench.carrier.dials) == number - 1
        bench.tick(1)
        assert len(bench.carrier.dials) == number
    bench.says(call, CarrierStatus.NO_ANSWER)
    bench.step()
    assert bench.state(call) == CallState.MISSED
    assert bench.view(call).retry_count == 3
    assert len(bench.carrier.dials) == 4
    assert bench.is_over(call)


def test_a_retry_that_would_leave_its_window_is_missed_at_once(bench) -> None:
    call = bench.call(window=timedelta(minutes=31))
    bench.step()
    bench.says(call, CarrierStatus.BUSY)
    bench.step()
    assert bench.state(call) == CallState.MISSED
    assert "would not fit into the window" in bench.view(call).reason


def test_a_retry_outside_permitted_hours_waits_for_the_morning_when_no_window_binds_it(bench) -> None:
    bench.clock.advance(8.75 * 3600)  # 20:45 in New York
    call = bench.call(window=None)
    bench.step()
    bench.says(call, CarrierStatus.BUSY)
    bench.step()
    morning = bench.noon + timedelta(hours=20)  # 08:00 the next day
    assert bench.run(call).wake_at == morning


def test_nothing_that_wakes_a_run_makes_its_retry_early(bench) -> None:
    bench.change(min_gap=timedelta(0))
    call = bench.call()
    bench.step()
    bench.says(call, CarrierStatus.BUSY, sequence=3)
    bench.step()
    bench.tick(600)
    bench.says(call, CarrierStatus.RINGING, sequence=1)
    bench.step()
    bench.control.pause("test", bench.clock.now())
    bench.step()
    bench.control.resume(bench.clock.now())
    bench.step()
    assert len(bench.carrier.dials) == 1
    assert bench.state(call) == CallState.WAITING_RETRY
    bench.tick(RETRY - 600)
    assert len(bench.carrier.dials) == 2


def test_cancelling_while_a_retry_waits_ends_the_call_at_once(bench) -> None:
    call = bench.call()
    bench.step()
    bench.says(call, CarrierStatus.BUSY)
    bench.step()
    bench.calls.cancel(call, bench.clock.now())
    bench.step()
    assert bench.state(call) == CallState.CANCELLED
    bench.tick(86400)
    assert len(bench.carrier.dials) == 1


def cancelled(bench, call) -> None:
    bench.calls.cancel(call, bench.clock.now())


def paused(bench, call) -> None:
    bench.control.pause("test", bench.clock.now())


def opted_out(bench, call) -> None:
    with bench.database.write() as session:
        suppress(session, bench.view(call).phone, "test", bench.clock.now())


def too_late(bench, call) -> None:
    bench.clock.advance(4 * 3600 - 60)


STOPS = [
    (cancelled, Outcome.CANCELLED, CallState.CANCELLED),
    (paused, Outcome.FAILED, CallState.WAITING_RETRY),
    (opted_out, Outcome.CANCELLED, CallState.CANCELLED),
    (too_late, Outcome.NO_ANSWER, CallState.MISSED),
]


@pytest.mark.parametrize(("happens", "outcome", "state"), STOPS)
def test_a_ringing_phone_is_silenced(bench, happens, outcome, state) -> None:
    call = bench.call()
    bench.step()
    bench.says(call, CarrierStatus.RINGING, sequence=1)
    bench.step()
    assert bench.carrier.hung_up == []
    happens(bench, call)
    bench.step()
    assert bench.carrier.hung_up == [bench.attempt(call).carrier_call_id]
    bench.says(call, CarrierStatus.CANCELED, sequence=2)
    bench.step()
    assert bench.attempt(call).outcome == outcome
    assert bench.state(call) == state
    assert len(bench.carrier.dials) == 1


@pytest.mark.parametrize("happens", [cancelled, paused, opted_out])
def test_a_stop_that_comes_while_the_carrier_is_asked_is_heard(bench, happens) -> None:
    call = bench.call()
    bench.step()
    bench.says(call, CarrierStatus.RINGING, sequence=1)
    bench.step()

    # What the carrier says is known already, so that no news of it wakes the run.
    bench.tick(61)

    def meanwhile(_sid: str) -> None:
        bench.carrier.on_fetch = lambda _sid: None
        happens(bench, call)

    bench.carrier.on_fetch = meanwhile
    bench.tick(61)
    bench.step()
    assert len(bench.carrier.hung_up) == 1


def test_a_stop_the_carrier_did_not_hear_is_repeated(bench) -> None:
    call = bench.call()
    bench.step()
    bench.says(call, CarrierStatus.RINGING, sequence=1)
    bench.carrier.down = True
    bench.calls.cancel(call, bench.clock.now())
    bench.step()
    assert bench.carrier.hung_up == []
    bench.carrier.down = False
    bench.tick(11)
    assert len(bench.carrier.hung_up) == 1


def test_a_pause_does_not_cut_off_somebody_who_is_talking(bench) -> None:
    call = bench.call()
    bench.step()
    answer(bench, call)
    bench.control.pause("test", bench.clock.now())
    bench.step()
    bench.tick(30)
    assert bench.carrier.hung_up == []


def test_a_finished_conversation_does_not_keep_the_line(bench) -> None:
    call = bench.call()
    bench.step()
    talk(bench, answer(bench, call))
    bench.step()
    bench.tick(45)
    assert len(bench.carrier.hung_up) == 1


# Unknown attempts


def lost(bench, *, placed: bool = False):
    """A call whose request was never answered. `placed`: the carrier has it all the same."""
    sids = []

    def vanish(request):
        if placed:
            sids.append(bench.carrier.place(request.to))
        return Unknown("time-out")

    bench.carrier.on_dial = vanish
    call = bench.call()
    bench.step()
    bench.carrier.on_dial = lambda _request: None
    return call, (sids[0] if sids else None)


def test_an_unknown_attempt_is_not_dialled_over(bench) -> None:
    call, _ = lost(bench)
    bench.carrier.down = True
    for _ in range(10):
        bench.tick(20 * 60)
    assert len(bench.carrier.dials) == 1
    bench.tick(3600)
    assert bench.state(call) == CallState.UNRESOLVED
    assert "unresolved" in [problem.kind for problem in ProblemStore(bench.database).open()]
    # Nor by anybody else's call to that number.
    other = bench.contact(int(bench.view(call).phone[-2:]))
    again = bench.call(other)
    bench.tick(1)
    assert len(bench.carrier.dials) == 1
    assert bench.verdict(again, "open_attempt") == [False]


def test_a_late_webhook_settles_an_unknown_attempt(bench) -> None:
    call, sid = lost(bench, placed=True)
    bench.clock.advance(20)
    assert bench.says(call, CarrierStatus.RINGING, sequence=1, sid=sid) is Applied.STORED
    assert bench.attempt(call).status == AttemptStatus.RINGING
    assert ProblemStore(bench.database).open() == []
    bench.says(call, CarrierStatus.BUSY, sequence=2)
    bench.step()
    assert bench.state(call) == CallState.WAITING_RETRY
    assert len(bench.carrier.dials) == 1


def test_a_listing_finds_the_call_nobody_answered_for(bench) -> None:
    call, sid = lost(bench, placed=True)
    bench.tick(61)
    assert bench.attempt(call).carrier_call_id == sid
    bench.carrier.calls[sid] = replace(bench.carrier.calls[sid], status=CarrierStatus.NO_ANSWER)
    bench.tick(61)
    assert bench.attempt(call).outcome == Outcome.NO_ANSWER


def test_an_earlier_call_of_another_attempt_is_not_taken_for_it(bench) -> None:
    first = bench.call()
    bench.step()
    bench.says(first, CarrierStatus.BUSY)
    bench.step()
    bench.carrier.on_dial = lambda _request: Unknown("time-out")
    bench.tick(RETRY)
    bench.carrier.on_dial = lambda _request: None
    assert bench.attempt(first).status == AttemptStatus.UNKNOWN
    bench.tick(61)
    assert bench.attempt(first).carrier_call_id is None
    assert bench.attempt(first).first_absent_at is not None


def test_two_complete_listings_ten_minutes_apart_make_it_absent(bench) -> None:
    call, _ = lost(bench)
    bench.tick(61)
    assert bench.attempt(call).first_absent_at is not None
    bench.carrier.down = True
    bench.tick(599)
    bench.carrier.down = False
    assert bench.attempt(call).outcome is None
    bench.tick(61)
    row = bench.attempt(call)
    assert (row.outcome, row.reason) == (Outcome.FAILED, "absent")
    assert bench.state(call) == CallState.WAITING_RETRY
    assert ProblemStore(bench.database).open() == []
    bench.tick(RETRY)
    assert len(bench.carrier.dials) == 2


def absent(bench, *, window: timedelta = timedelta(hours=4)) -> str:
    bench.carrier.on_dial = lambda _request: Unknown("time-out")
    call = bench.call(window=window)
    bench.step()
    bench.carrier.on_dial = lambda _request: None
    bench.tick(61)
    bench.tick(601)
    assert bench.attempt(call).reason == "absent"
    return call


def test_an_absent_attempt_that_shows_up_counts_again_and_is_ended(bench) -> None:
    call = absent(bench)
    assert bench.state(call) == CallState.WAITING_RETRY
    sid = bench.carrier.place(bench.view(call).phone)
    bench.says(call, CarrierStatus.RINGING, sequence=1, sid=sid)
    bench.step()
    assert bench.attempt(call).outcome is None
    assert bench.carrier.hung_up == [sid]
    # The retry it led to does not happen while it is open.
    bench.tick(RETRY)
    assert len(bench.carrier.dials) == 1
    bench.says(call, CarrierStatus.CANCELED, sequence=2, sid=sid)
    bench.step()
    assert bench.attempt(call).outcome == Outcome.NO_ANSWER


def test_an_absent_attempt_that_shows_up_after_its_call_was_closed_is_ended_too(bench) -> None:
    call = absent(bench, window=timedelta(minutes=20))
    assert bench.state(call) == CallState.MISSED
    sid = bench.carrier.place(bench.view(call).phone)
    bench.says(call, CarrierStatus.RINGING, sequence=1, sid=sid)
    bench.step()
    assert bench.carrier.hung_up == [sid]
    bench.says(call, CarrierStatus.CANCELED, sequence=2, sid=sid)
    bench.step()
    assert bench.state(call) == CallState.MISSED
    assert bench.is_over(call)


@pytest.mark.parametrize("carrier_is_down", [False, True])
def test_the_ghost_of_an_attempt_that_was_dialled_again_is_hung_up(bench, carrier_is_down) -> None:
    call = absent(bench)
    bench.tick(RETRY)
    assert len(bench.carrier.dials) == 2
    sid = bench.carrier.place(bench.view(call).phone)
    bench.carrier.down = carrier_is_down
    bench.says(call, CarrierStatus.RINGING, sequence=1, sid=sid, attempt=0)
    bench.step()
    if carrier_is_down:
        assert bench.carrier.hung_up == []
        bench.carrier.down = False
        bench.watch.tick(bench.clock.now())
    assert bench.carrier.hung_up == [sid]
    assert bench.attempt(call, 0).outcome == Outcome.FAILED
    assert bench.attempt(call).outcome is None
    bench.says(call, CarrierStatus.CANCELED, sequence=2, sid=sid, attempt=0)
    bench.says(call, CarrierStatus.BUSY, sequence=3)
    bench.step()
    assert bench.view(call).retry_count == 2
    bench.watch.tick(bench.clock.now())
    assert bench.carrier.hung_up == [sid]


def test_what_is_heard_of_an_unresolved_call_closes_it_after_all(bench) -> None:
    call, sid = lost(bench, placed=True)
    bench.carrier.down = True
    bench.tick(4 * 3600)
    assert bench.state(call) == CallState.UNRESOLVED
    bench.carrier.down = False
    bench.says(call, CarrierStatus.RINGING, sequence=1, sid=sid)
    bench.step()
    assert bench.carrier.hung_up == [sid]
    bench.says(call, CarrierStatus.CANCELED, sequence=2, sid=sid)
    bench.step()
    assert bench.state(call) == CallState.MISSED
    assert ProblemStore(bench.database).open() == []


def test_a_call_the_carrier_no_longer_knows_is_unresolved_in_the_end(bench) -> None:
    call = bench.call()
    bench.step()
    bench.carrier.calls.clear()
    bench.tick(61)
    assert bench.attempt(call).status == AttemptStatus.UNKNOWN
    bench.tick(4 * 3600)
    assert bench.state(call) == CallState.UNRESOLVED
    assert len(bench.carrier.dials) == 1


def test_lost_webhooks_are_made_up_for_by_asking(bench) -> None:
    call = bench.call()
    bench.step()
    sid = bench.attempt(call).carrier_call_id
    bench.carrier.calls[sid] = replace(bench.carrier.calls[sid], status=CarrierStatus.BUSY)
    bench.tick(61)
    assert bench.attempt(call).outcome == Outcome.BUSY


def test_an_operators_fault_waits_without_using_up_retries_and_ends_with_the_window(bench) -> None:
    bench.carrier.on_dial = lambda _request: NotPlaced("20003", "authenticate", permanent=False, operator=True)
    call = bench.call(window=timedelta(minutes=12))
    bench.step()
    for _ in range(3):
        bench.tick(300)
    assert bench.state(call) == CallState.MISSED
    assert bench.view(call).retry_count == 0
    assert len(bench.carrier.dials) == 3


def test_a_carrier_too_busy_for_a_call_uses_up_none_of_its_retries(bench) -> None:
    """A plan with one retry: busy, then refused for want of room three times, and then rung all the same."""
    bench.policy = RetryPolicy(1, (timedelta(minutes=30),))
    bench.rebuild()
    call = bench.call()
    bench.step()
    bench.says(call, CarrierStatus.BUSY)
    bench.step()
    bench.carrier.on_dial = lambda _request: NotPlaced("20429", "too many requests at once", permanent=False, operator=False)
    bench.tick(RETRY)
    for _ in range(2):
        bench.tick(60)
    assert len(bench.carrier.dials) == 4
    bench.carrier.on_dial = lambda _request: None
    bench.tick(60)
    bench.says(call, CarrierStatus.NO_ANSWER)
    bench.step()
    assert (bench.state(call), bench.view(call).retry_count) == (CallState.MISSED, 1)


def test_a_call_outside_any_window_is_not_offered_for_ever(bench) -> None:
    bench.carrier.on_dial = lambda _request: NotPlaced("20003", "authenticate", permanent=False, operator=True)
    call = bench.call(window=None)
    bench.step()
    assert bench.state(call) == CallState.WAITING_RETRY
    bench.tick(24 * 3600)
    bench.step()
    assert bench.state(call) == CallState.FAILED
    assert "for 24 hours" in (bench.view(call).reason or "")


def test_a_call_that_waited_a_day_is_not_given_up_for_one_dial_that_was_not_taken(bench) -> None:
    call = bench.call(window=None)
    bench.control.pause("a storm", bench.clock.now())
    bench.step()
    bench.clock.advance(24 * 3600 + 60)
    bench.control.resume(bench.clock.now())
    bench.carrier.on_dial = lambda _request: NotPlaced("20429", "too many requests at once", permanent=False, operator=False)
    bench.step()
    assert bench.state(call) == CallState.WAITING_RETRY
    bench.carrier.on_dial = lambda _request: None
    bench.tick(60)
    assert bench.state(call) == CallState.DIALING


def test_a_late_verdict_does_not_hang_up_on_somebody_who_talks(bench) -> None:
    call = bench.call()
    bench.step()
    conversation = answer(bench, call)
    talk(bench, conversation, ended_by=None)
    more = TurnRecord(2, "day", "and you?", "Fine.", bench.clock.now())
    assert bench.conversations.save(conversation, 1, [more], ConversationState.begin(["day"]).to_json(), None, bench.clock.now())
    bench.conversations.mark_answered_by(bench.attempt(call).id, "machine_start", bench.clock.now())
    bench.step()
    assert bench.carrier.hung_up == []
    bench.says(call, CarrierStatus.COMPLETED, sequence=3)
    bench.tick(31)
    assert bench.attempt(call).outcome != Outcome.VOICEMAIL


def test_who_hangs_up_after_a_call_went_on_in_standard_mode_has_hung_up(bench) -> None:
    call = bench.call()
    bench.step()
    conversation = answer(bench, call)
    row = bench.attempt(call)
    bench.conversations.stream_saved(row.id, 1, bench.clock.now())
    bench.conversations.document_fetched(row.id, "standard", bench.clock.now())
    turn = TurnRecord(1, "day", "not now", "I see.", bench.clock.now())
    assert bench.conversations.save(conversation, None, [turn], ConversationState.begin(["day"]).to_json(), None, bench.clock.now())
    bench.says(call, CarrierStatus.COMPLETED, sequence=3)
    bench.tick(4)
    assert bench.attempt(call).outcome == Outcome.HUNG_UP_EARLY
    bench.tick(RETRY)
    assert len(bench.carrier.dials) == 1


def test_a_paused_contact_who_picks_up_is_not_to_be_talked_to(bench) -> None:
    contact = bench.contact()
    call = bench.call(contact)
    bench.step()
    bench.contacts.pause(contact, "on holiday", bench.clock.now())
    context = bench.conversations.context(bench.attempt(call).id)
    assert context is not None
    assert context.unwanted


def test_a_plan_that_cannot_be_read_fails_the_call_and_not_the_worker(bench) -> None:
    bad, good = bench.call(plan="no-such-plan"), bench.call()
    report = bench.step()
    assert report.errors == 0
    assert bench.state(bad) == CallState.FAILED
    assert bench.view(good).attempts


def test_moving_a_contact_does_not_touch_an_open_call(bench) -> None:
    contact = bench.contact()
    call = bench.call(contact)
    bench.step()
    ContactStore(bench.database).move(contact, "Asia/Tokyo", bench.clock.now())
    bench.says(call, CarrierStatus.BUSY)
    bench.step()
    # 02:30 in Tokyo is not permitted: the retry would fall into the next morning, after the window.
    assert bench.state(call) == CallState.MISSED
