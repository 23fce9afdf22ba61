"""Somebody has picked up, and nobody of ours talks: the line is taken up again, or ended. Never dead air."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.domain.calls import CallState
from core.domain.conversation import ConversationState
from core.domain.outcomes import Outcome
from core.storage.conversations import TurnRecord
from core.telephony.base import CarrierStatus

SPOOL = "5" * 32


def picked_up(bench) -> str:
    call = bench.call()
    bench.step()
    row = bench.attempt(call)
    bench.says(call, CarrierStatus.IN_PROGRESS, sequence=2)
    bench.conversations.served(row.id, row.carrier_call_id, bench.clock.now())
    bench.step()
    return call


def stream(bench, call: str, epoch: int = 1) -> str:
    """A stream begins. Returns the conversation."""
    row = bench.attempt(call)
    assert bench.conversations.redeem_stream(row.id, row.carrier_call_id, epoch, SPOOL, bench.clock.now())
    begun = ConversationState.begin(["day"]).to_json()
    return bench.conversations.open(row.id, "daily", "digest", "voice", begun, bench.clock.now())


def redirects(bench, call: str) -> list[str]:
    row = bench.attempt(call)
    base = f"https://orch.example/webhooks/twilio/continue?attempt={row.id}&stream="
    assert all(sid == row.carrier_call_id and url.startswith(base) for sid, url in bench.carrier.redirected)
    return [url.removeprefix(base) for _, url in bench.carrier.redirected]


def test_a_stream_that_never_begins_is_asked_for_twice_and_then_the_call_is_ended(bench) -> None:
    call = picked_up(bench)
    bench.tick(5)
    assert redirects(bench, call) == []
    bench.tick(1)
    assert redirects(bench, call) == ["0"]
    bench.tick(5)
    assert redirects(bench, call) == ["0"]
    bench.tick(1)
    assert redirects(bench, call) == ["0", "0"]
    bench.tick(6)
    assert bench.carrier.hung_up == [bench.attempt(call).carrier_call_id]
    bench.says(call, CarrierStatus.COMPLETED, sequence=3)
    bench.tick(1)
    assert bench.attempt(call).outcome == Outcome.DROPPED
    assert bench.state(call) == CallState.WAITING_RETRY


def test_a_stream_that_breaks_off_without_a_word_is_taken_up_again(bench) -> None:
    call = picked_up(bench)
    stream(bench, call)
    bench.tick(30)
    assert redirects(bench, call) == []
    bench.conversations.stream_saved(bench.attempt(call).id, 1, bench.clock.now())
    bench.step()
    bench.tick(6)
    assert redirects(bench, call) == ["1"]
    # The carrier asks, and a new stream begins: all is well.
    bench.conversations.document_fetched(bench.attempt(call).id, "enhanced", bench.clock.now())
    stream(bench, call, 2)
    for _ in range(5):
        bench.tick(60)
    assert redirects(bench, call) == ["1"]
    assert bench.carrier.hung_up == []


def test_a_media_server_that_died_in_the_call_is_noticed_when_the_next_one_starts(bench) -> None:
    call = picked_up(bench)
    stream(bench, call)
    bench.tick(30)
    bench.conversations.spool_replayed(SPOOL, bench.clock.now())
    bench.step()
    assert redirects(bench, call) == []
    bench.tick(6)
    assert redirects(bench, call) == ["1"]


def test_another_media_servers_start_says_nothing_about_a_call(bench) -> None:
    call = picked_up(bench)
    stream(bench, call)
    bench.conversations.spool_replayed("6" * 32, bench.clock.now() + timedelta(seconds=5))
    for _ in range(3):
        bench.tick(60)
    assert redirects(bench, call) == []


def test_a_carrier_that_asks_by_itself_is_not_told_to(bench) -> None:
    call = picked_up(bench)
    stream(bench, call)
    attempt = bench.attempt(call).id
    bench.conversations.stream_saved(attempt, 1, bench.clock.now())
    for _ in range(4):
        # It waits for a media server, and asks again every two seconds.
        bench.tick(2)
        bench.conversations.document_fetched(attempt, "enhanced", bench.clock.now())
    assert redirects(bench, call) == []
    bench.tick(6)
    assert redirects(bench, call) == ["1"]


def test_a_call_that_went_on_in_standard_mode_is_left_alone(bench) -> None:
    call = picked_up(bench)
    stream(bench, call)
    attempt = bench.attempt(call).id
    bench.conversations.stream_saved(attempt, 1, bench.clock.now())
    bench.conversations.document_fetched(attempt, "standard", bench.clock.now())
    for _ in range(5):
        bench.tick(60)
    assert redirects(bench, call) == []
    assert bench.attempt(call).mode == "standard"


@pytest.mark.parametrize("mode", ["standard", "enhanced"])
def test_a_conversation_that_has_ended_is_not_silence(bench, mode) -> None:
    bench.change(mode=mode)
    call = picked_up(bench)
    conversation = stream(bench, call)
    turn = TurnRecord(1, "day", "it was lovely", "Goodbye.", bench.clock.now())
    state = ConversationState.begin(["day"]).heard("it was lovely").answered("it was lovely")
    assert bench.conversations.save(conversation, 1, [turn], state.to_json(), "complete", bench.clock.now())
    bench.conversations.stream_saved(bench.attempt(call).id, 1, bench.clock.now())
    bench.step()
    bench.tick(30)
    assert redirects(bench, call) == []


def test_a_carrier_that_is_down_is_asked_again(bench) -> None:
    call = picked_up(bench)
    bench.carrier.down = True
    bench.tick(6)
    bench.carrier.down = False
    assert redirects(bench, call) == []
    bench.tick(6)
    assert redirects(bench, call) == ["0"]
