"""May we dial? One dial that everything allows, and what each change to it brings."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.compliance import RULES, DialFacts, Judgement, PermittedHours, dial_until, judge, window_possible
from core.domain.windows import LocalWindow, Occurrence, parse_days, parse_time, zone_of
from core.errors import InvalidInput

PHONE = "+12025550123"
SECOND = timedelta(seconds=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# Ten o'clock in New York, in a window from 09:30 to 11:00.
NOW = utc("2026-07-15 14:00")
OCCURRENCE = Occurrence(date(2026, 7, 15), utc("2026-07-15 13:30"), utc("2026-07-15 15:00"))
ALLOWED: dict[str, Any] = {
    "now": NOW,
    "paused_reason": None,
    "cancel_requested": False,
    "dial_only": (PHONE,),
    "carrier_name": "twilio",
    "carrier_is_real": True,
    "contact_active": True,
    "contact_simulated": False,
    "call_simulated": False,
    "phone": PHONE,
    "countries": ("US",),
    "do_not_call_at": None,
    "zone": "America/New_York",
    "occurrence": OCCURRENCE,
    "permitted": PermittedHours(time(8), time(21)),
    "ring_seconds": 30,
    "expected_queue_seconds": 0,
    "attempts_24h": (),
    "attempts_7d": (),
    "per_day": 3,
    "per_week": 5,
    "min_gap": timedelta(minutes=15),
    "open_attempt": None,
    "public_url_problem": None,
    "clock_skew_seconds": 0.4,
    "open_calls": 0,
    "max_concurrent": 10,
    "next_slot_at": None,
}
SIMULATED: dict[str, Any] = {
    "carrier_name": "simulator",
    "carrier_is_real": False,
    "contact_simulated": True,
    "call_simulated": True,
    "dial_only": (),
}


def facts(**changed: Any) -> DialFacts:
    return DialFacts(**(ALLOWED | changed))


def blocked(judgement: Judgement) -> list[str]:
    return [verdict.rule for verdict in judgement.verdicts if not verdict.allowed]


def ago(*minutes: float) -> tuple[datetime, ...]:
    return tuple(NOW - timedelta(minutes=m) for m in minutes)


def test_a_dial_that_nothing_forbids_is_allowed_and_every_rule_has_spoken() -> None:
    judgement = judge(facts())
    assert judgement.kind == "allowed"
    assert judgement.blocking is None
    assert all(verdict.allowed and verdict.detail for verdict in judgement.verdicts)


def test_the_rules_are_judged_in_their_order() -> None:
    order = (
        *(
            "kill_switch",
            "cancel",
            "allow_list",
            "contact",
            "do_not_call",
            "timezone",
            "window",
            "permitted_hours",
            "caps_day",
            "caps_week",
        ),
        *("min_gap", "open_attempt", "last_words", "public_url", "carrier", "carrier_health", "clock", "concurrency", "rate"),
    )
    assert order == RULES
    assert tuple(verdict.rule for verdict in judge(facts()).verdicts) == RULES


# What is changed -> the rule that blocks alone, the kind, when to ask again.
BLOCKS: dict[str, tuple[dict[str, Any], str, str, datetime | None]] = {
    "paused": ({"paused_reason": "maintenance"}, "kill_switch", "wait", None),
    "paused without a reason": ({"paused_reason": ""}, "kill_switch", "wait", None),
    "cancelled": ({"cancel_requested": True}, "cancel", "never", None),
    "real carrier, empty allow-list": ({"dial_only": ()}, "allow_list", "never", None),
    "real carrier, not on the allow-list": ({"dial_only": ("+12025550199",)}, "allow_list", "never", None),
    "simulator, not on the allow-list": (SIMULATED | {"dial_only": ("+12025550199",)}, "allow_list", "never", None),
    "inactive contact": ({"contact_active": False}, "contact", "never", None),
    "country not allowed": ({"countries": ("GB",)}, "contact", "never", None),
    "number not valid": ({"phone": "+15555550123", "dial_only": ("+15555550123",)}, "contact", "never", None),
    "premium-rate number": ({"phone": "+19005550123", "dial_only": ("+19005550123",)}, "contact", "never", None),
    "number not in E.164 form": (SIMULATED | {"phone": "+1 2025550123"}, "contact", "never", None),
    "do not call": ({"do_not_call_at": utc("2025-01-01 00:00")}, "do_not_call", "never", None),
    "do not call from a moment ahead of our clock": ({"do_not_call_at": NOW + SECOND}, "do_not_call", "never", None),
    "window not open yet": ({"now": utc("2026-07-15 13:29:59")}, "window", "wait", OCCURRENCE.opens_at),
    "window closed": ({"now": OCCURRENCE.closes_at}, "window", "never", None),
    "no time left to ring": ({"now": utc("2026-07-15 14:58:31")}, "window", "never", None),
    "the carrier's queue is longer than the window": ({"expected_queue_seconds": 3600}, "window", "wait", None),
    "too early in the day": (
        {"now": utc("2026-07-15 11:59:59"), "occurrence": None},
        *("permitted_hours", "wait", utc("2026-07-15 12:00")),
    ),
    "too late in the day": ({"now": utc("2026-07-16 01:00"), "occurrence": None}, "permitted_hours", "wait", utc("2026-07-16 12:00")),
    "too late when the phone would be answered": (
        {"now": utc("2026-07-16 00:58:31"), "occurrence": None},
        *("permitted_hours", "wait", utc("2026-07-16 12:00")),
    ),
    "too late after the carrier's queue": (
        {"now": utc("2026-07-16 00:30"), "occurrence": None, "expected_queue_seconds": 1800},
        *("permitted_hours", "wait", utc("2026-07-16 12:00")),
    ),
    "open window outside permitted hours": (
        {"now": utc("2026-07-16 02:00"), "occurrence": Occurrence(date(2026, 7, 15), utc("2026-07-16 01:00"), utc("2026-07-16 04:00"))},
        *("permitted_hours", "wait", utc("2026-07-16 12:00")),
    ),
    "day's cap": ({"attempts_24h": ago(1430, 600, 60)}, "caps_day", "wait", NOW + timedelta(minutes=10)),
    "over the day's cap": ({"attempts_24h": ago(1430, 1200, 600, 60)}, "caps_day", "wait", NOW + timedelta(minutes=240)),
    "week's cap": (
        {"attempts_7d": (*(NOW - timedelta(days=d) for d in (6, 5, 4, 3)), *ago(60)), "attempts_24h": ago(60)},
        *("caps_week", "wait", NOW + timedelta(days=1)),
    ),
    "least gap": ({"last_attempt_at": NOW - timedelta(minutes=14)}, "min_gap", "wait", NOW + timedelta(minutes=1)),
    "least gap, from the attempts": ({"attempts_7d": ago(14)}, "min_gap", "wait", NOW + timedelta(minutes=1)),
    "an attempt ahead of our clock": ({"last_attempt_at": NOW + timedelta(minutes=5)}, "min_gap", "wait", NOW + timedelta(minutes=20)),
    "unknown attempt": ({"open_attempt": "unknown"}, "open_attempt", "wait", None),
    "ringing attempt": ({"open_attempt": "ringing"}, "open_attempt", "wait", None),
    "words not saved": ({"unsaved_since": NOW - timedelta(hours=1)}, "last_words", "wait", NOW + 60 * SECOND),
    "public URL down": ({"public_url_problem": "it answers 502"}, "public_url", "wait", NOW + 5 * SECOND),
    "a carrier that took none of three": ({"failed_requests": ago(0.5, 0.6, 0.7)}, "carrier_health", "wait", NOW + 30 * SECOND),
    "its first try after the rest": (
        {"failed_requests": ago(1, 1.1, 1.2), "request_under_way": True},
        *("carrier_health", "wait", NOW + 5 * SECOND),
    ),
    "simulated contact on a real carrier": ({"contact_simulated": True}, "carrier", "never", None),
    "simulated call on a real carrier": ({"call_simulated": True}, "carrier", "never", None),
    "real contact on the simulator": (SIMULATED | {"contact_simulated": False}, "carrier", "never", None),
    "real call on the simulator": (SIMULATED | {"call_simulated": False}, "carrier", "never", None),
    "clock ahead": ({"clock_skew_seconds": -60.1}, "clock", "wait", None),
    "clock behind": ({"clock_skew_seconds": 61.0}, "clock", "wait", None),
    "skew that is no number": ({"clock_skew_seconds": float("nan")}, "clock", "wait", None),
    "skew without end": ({"clock_skew_seconds": float("inf")}, "clock", "wait", None),
    "all lines busy": ({"open_calls": 10}, "concurrency", "wait", None),
    "not its turn": ({"next_slot_at": NOW + timedelta(milliseconds=300)}, "rate", "wait", NOW + timedelta(milliseconds=300)),
}


@pytest.mark.parametrize("case", BLOCKS.values(), ids=BLOCKS.keys())
def test_one_rule_blocks(case: tuple[dict[str, Any], str, str, datetime | None]) -> None:
    changed, rule, kind, wake_at = case
    judgement = judge(facts(**changed))
    assert blocked(judgement) == [rule]
    assert judgement.kind == kind
    assert judgement.blocking is not None
    assert judgement.blocking.rule == rule
    assert judgement.blocking.wake_at == wake_at


ALLOWS: dict[str, dict[str, Any]] = {
    "simulator, empty allow-list": SIMULATED,
    "simulator, on the allow-list": SIMULATED | {"dial_only": (PHONE,)},
    "allow-list written with spaces and hyphens": {"dial_only": ("+1 (202) 555-0123",)},
    "call not born of a window": {"occurrence": None},
    "the window's first instant": {"now": OCCURRENCE.opens_at},
    "the last moment that leaves time to ring": {"now": utc("2026-07-15 14:58:30")},
    "the day's first permitted instant": {"now": utc("2026-07-15 12:00"), "occurrence": None},
    "the day's last moment that leaves time to ring": {"now": utc("2026-07-16 00:58:30"), "occurrence": None},
    "attempts that are a day old": {"attempts_24h": ago(1440, 1440.5, 1441)},
    "one below the day's cap": {"attempts_24h": ago(600, 60)},
    "one attempt listed twice": {"attempts_24h": ago(600, 60), "attempts_7d": ago(600, 60)},
    "attempts that are a week old": {"attempts_7d": ago(7 * 1440, 7 * 1440 + 1, 7 * 1440 + 2, 7 * 1440 + 3, 7 * 1440 + 4)},
    "the gap is just over": {"last_attempt_at": NOW - timedelta(minutes=15)},
    "skew at the limit": {"clock_skew_seconds": 60.0},
    "clock not compared yet": {"clock_skew_seconds": None},
    "the last free line": {"open_calls": 9},
    "two requests in a row that failed": {"failed_requests": ago(0.1, 0.2)},
    "a carrier that has rested": {"failed_requests": ago(1, 1.1, 1.2)},
    "another number's request under way": {"request_under_way": True},
    "its turn": {"next_slot_at": NOW},
}


@pytest.mark.parametrize("changed", ALLOWS.values(), ids=ALLOWS.keys())
def test_nothing_blocks(changed: dict[str, Any]) -> None:
    judgement = judge(facts(**changed))
    assert blocked(judgement) == []
    assert judgement.kind == "allowed"


def test_a_cap_lets_go_at_the_instant_it_names() -> None:
    attempts = ago(1430, 1200, 600, 60)
    first = judge(facts(attempts_24h=attempts, occurrence=None))
    assert first.blocking is not None
    assert first.blocking.wake_at is not None
    just_before = facts(attempts_24h=attempts, occurrence=None, now=first.blocking.wake_at - SECOND)
    then = facts(attempts_24h=attempts, occurrence=None, now=first.blocking.wake_at)
    assert blocked(judge(just_before)) == ["caps_day"]
    assert blocked(judge(then)) == []


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "EST"])
def test_an_unknown_zone_blocks_whatever_the_hour(zone: str) -> None:
    judgement = judge(facts(zone=zone, occurrence=None))
    assert blocked(judgement) == ["timezone", "permitted_hours"]
    assert judgement.kind == "never"
    assert judgement.blocking is not None
    assert judgement.blocking.rule == "timezone"


def test_permitted_hours_that_fit_no_dial_never_allow_one() -> None:
    judgement = judge(facts(permitted=PermittedHours(time(9), time(9, 1)), occurrence=None))
    assert blocked(judgement) == ["permitted_hours"]
    assert judgement.kind == "never"


@pytest.mark.parametrize(("reason", "detail"), [("on holiday", "the contact is paused: on holiday"), ("", "the contact is paused")])
def test_a_paused_contact_waits_and_an_inactive_one_is_not_called_at_all(reason: str, detail: str) -> None:
    judgement = judge(facts(contact_paused=reason))
    assert (judgement.kind, judgement.blocking.rule, judgement.blocking.detail) == ("wait", "contact", detail)
    assert judgement.blocking.wake_at is None
    assert judge(facts(contact_paused=reason, contact_active=False)).kind == "never"


def test_permitted_hours_are_those_of_the_contacts_clock() -> None:
    # 14:00 UTC is 10:00 in New York, 07:00 in Los Angeles and 23:00 in Tokyo.
    assert judge(facts(zone="America/New_York", occurrence=None)).kind == "allowed"
    for zone in ("America/Los_Angeles", "Asia/Tokyo"):
        assert blocked(judge(facts(zone=zone, occurrence=None))) == ["permitted_hours"]


def test_all_that_stands_in_the_way_is_reported() -> None:
    judgement = judge(facts(paused_reason="maintenance", open_calls=10, attempts_24h=ago(60, 30, 5), open_attempt="queued"))
    assert blocked(judgement) == ["kill_switch", "caps_day", "min_gap", "open_attempt", "concurrency"]
    assert judgement.kind == "wait"
    assert judgement.blocking is not None
    assert judgement.blocking.rule == "kill_switch"


def test_a_call_that_can_never_be_dialled_is_not_kept_waiting_by_a_pause() -> None:
    judgement = judge(facts(paused_reason="maintenance", do_not_call_at=utc("2026-07-01 00:00")))
    assert blocked(judgement) == ["kill_switch", "do_not_call"]
    assert judgement.kind == "never"
    assert judgement.blocking is not None
    assert judgement.blocking.rule == "do_not_call"


def test_what_a_verdict_saw_can_be_stored_and_names_no_number() -> None:
    everything = (judge(facts(**changed)).verdicts for changed, *_ in BLOCKS.values())
    for verdicts in everything:
        for verdict in verdicts:
            # NaN is not JSON, though Python writes it.
            stored = json.dumps(verdict.inputs, allow_nan=False) + verdict.detail
            assert "5550123" not in stored
            assert verdict.detail == verdict.detail.strip()


def test_a_person_reads_local_times() -> None:
    judgement = judge(facts(now=OCCURRENCE.closes_at))
    assert judgement.blocking is not None
    assert judgement.blocking.detail == "the window closed at 2026-07-15 11:00 (America/New_York)"


def test_a_naive_instant_is_a_mistake_and_no_dial() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        facts(now=datetime(2026, 7, 15, 14))  # noqa: DTZ001
    with pytest.raises(ValueError, match="no time zone"):
        facts(attempts_7d=(datetime(2026, 7, 15, 14),))  # noqa: DTZ001


def test_an_unanswered_call_is_cancelled_a_margin_before_the_window_closes() -> None:
    assert dial_until(facts()) == utc("2026-07-15 14:59")


def test_an_unanswered_call_is_cancelled_a_margin_before_permitted_hours_end() -> None:
    # 21:00 in New York is 01:00 UTC.
    late = Occurrence(date(2026, 7, 15), utc("2026-07-15 23:00"), utc("2026-07-16 03:00"))
    assert dial_until(facts(now=utc("2026-07-16 00:00"), occurrence=late)) == utc("2026-07-16 00:59")
    assert dial_until(facts(now=utc("2026-07-16 00:00"), occurrence=None)) == utc("2026-07-16 00:59")


def test_where_nothing_is_permitted_a_call_has_no_time_at_all() -> None:
    for changed in ({"now": utc("2026-07-16 02:00")}, {"zone": "Mars/Olympus"}):
        wrong = facts(occurrence=None, **changed)
        assert dial_until(wrong) == wrong.now


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 26 * 3600),
    st.integers(15, 120),
    st.integers(0, 1200),
    st.sampled_from(["America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_a_dial_that_is_allowed_can_ring_to_its_end(second: int, ring: int, queue: int, zone: str) -> None:
    begin = utc("2026-07-15 00:00")
    now = begin + second * SECOND
    occurrence = Occurrence(date(2026, 7, 15), begin, begin + timedelta(hours=25))
    some = facts(now=now, occurrence=occurrence, zone=zone, ring_seconds=ring, expected_queue_seconds=queue)
    judgement = judge(some)
    if judgement.kind == "allowed":
        assert now + timedelta(seconds=ring + queue) <= dial_until(some)
        for instant in (now, now + timedelta(seconds=ring + queue), dial_until(some)):
            assert time(8) <= instant.astimezone(zone_of(zone)).time() < time(21)
            assert occurrence.is_open_at(instant)


def window(span: str, *, day: date | None = None) -> LocalWindow:
    start, _, end = span.partition("-")
    return LocalWindow(None if day else parse_days("daily"), day, parse_time(start), parse_time(end))


@pytest.mark.parametrize(
    ("span", "complaint"),
    [
        ("22:00-23:00", "nobody may be called between 22:00 and 23:00: permitted hours are 08:00-21:00 local time"),
        ("21:00-08:00", "nobody may be called between 21:00 and 08:00"),
        ("05:00-08:00", "nobody may be called"),
        ("20:59-22:00", "only 60 s of 20:59-22:00 lie within the permitted hours 08:00-21:00; a dial needs 90 s"),
        ("09:00-09:01", "only 60 s of 09:00-09:01"),
        ("22:00-08:01", "only 60 s of 22:00-08:01"),
    ],
)
def test_a_window_in_which_nobody_may_ever_be_called_is_told_apart(span: str, complaint: str) -> None:
    permitted = PermittedHours(time(8), time(21))
    for candidate in (window(span), window(span, day=date(2026, 7, 15))):
        reason = window_possible(candidate, zone_of("Europe/Berlin"), permitted)
        assert reason is not None
        assert reason.startswith(complaint)


@pytest.mark.parametrize("span", ["08:00-09:00", "06:00-09:00", "20:00-23:00", "22:00-08:30", "20:30-07:00", "00:00-23:59", "20:58-21:30"])
def test_a_window_that_permitted_hours_reach_into_is_possible(span: str) -> None:
    permitted = PermittedHours(time(8), time(21))
    for candidate in (window(span), window(span, day=date(2026, 7, 15))):
        assert window_possible(candidate, zone_of("Europe/Berlin"), permitted) is None


def test_a_one_off_window_that_its_date_does_not_have_is_told_apart() -> None:
    permitted = PermittedHours(time(0), time(23, 59))
    reason = window_possible(window("02:10-02:50", day=date(2026, 3, 29)), zone_of("Europe/Berlin"), permitted)
    assert reason == "02:10-02:50 does not exist on 2026-03-29 in Europe/Berlin: the clocks go forward then"
    assert window_possible(window("02:10-02:50", day=date(2026, 3, 28)), zone_of("Europe/Berlin"), permitted) is None


def test_a_longer_ring_asks_more_of_a_window() -> None:
    short, permitted = window("09:00-09:03"), PermittedHours(time(8), time(21))
    assert window_possible(short, zone_of("Europe/Berlin"), permitted, dial_time=timedelta(seconds=180)) is None
    assert window_possible(short, zone_of("Europe/Berlin"), permitted, dial_time=timedelta(seconds=181)) is not None


@pytest.mark.parametrize(("start", "end"), [(time(21), time(8)), (time(8), time(8)), (time(8, 0, 30), time(9))])
def test_permitted_hours_that_mean_nothing_are_refused(start: time, end: time) -> None:
    with pytest.raises(InvalidInput):
        PermittedHours(start, end)
