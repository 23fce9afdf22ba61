"""People ring a missed number back: they are told who called and why, and may say that they want no more calls."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import phonenumbers

from core.domain import prompts, utterance
from core.errors import OrchError
from core.logs import get_logger
from core.plans.library import PlanLibrary
from core.storage.inbound import InboundStore

# So long after a call somebody may still ring back and be told what it was.
REMEMBERED = timedelta(days=14)
# How often it is said again to somebody who asks for that.
MOST_REPEATS = 2

# Withheld numbers as carriers spell them on a telephone's keys: ANONYMOUS, RESTRICTED, BLOCKED, UNKNOWN, UNAVAILABLE, NO; with
# and without the 1 of the United States.
_WITHHELD = frozenset(
    plus + spelled for spelled in ("266696687", "7378742833", "2562533", "8656696", "86282452253", "464") for plus in ("+", "+1")
)


@dataclass(frozen=True, slots=True)
class Spoken:
    """What is said to the caller. `listens`: they may answer, and interrupt it."""

    text: str
    listens: bool
    language: str = "en-US"


class Answer(StrEnum):
    """What a caller's words or keys ask for."""

    STOP = "stop"
    AGAIN = "again"
    NOTHING = "nothing"


def meant(heard: str, digits: str) -> Answer:
    if "*" in digits or utterance.asks_to_stop(heard):
        return Answer.STOP
    if utterance.asks_to_repeat(heard) or utterance.asks_who(heard):
        return Answer.AGAIN
    return Answer.NOTHING


def caller_number(shown: str) -> str | None:
    """The caller's number in E.164; None for one that was withheld, which comes as a word, as nothing, or as a spelled word."""
    shown = shown.strip()
    if shown in _WITHHELD or not shown.removeprefix("+").isdecimal():
        return None
    try:
        number = phonenumbers.parse(shown, None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


class InboundCalls:
    """`caller_name` is who we say is calling."""

    def __init__(self, store: InboundStore, plans: PlanLibrary, caller_name: str) -> None:
        self._store = store
        self._plans = plans
        self._caller = caller_name
        self._log = get_logger()

    def greeting(self, shown: str, now: datetime) -> Spoken:
        """What is said first. Only reads."""
        phone = caller_number(shown)
        if phone is None:
            return Spoken(prompts.number_withheld(self._caller), listens=False)
        known = self._store.rung_back(phone, now - REMEMBERED)
        if known.suppressed:
            return Spoken(f"{prompts.introduction(self._caller)} {prompts.OPTED_OUT_BEFORE}", listens=False)
        if known.plan is None:
            return Spoken(prompts.rang_nobody(self._caller), listens=True)
        try:
            plan = self._plans.get(known.plan)
        except OrchError:
            # A plan deleted since the call must not keep anybody from saying stop.
            return Spoken(prompts.rang_you_for_a_lost_plan(self._caller), listens=True)
        return Spoken(prompts.rang_you(self._caller, plan.title, plan.purpose), listens=True, language=plan.language)

    def answered(self, carrier_call_id: str, shown: str, now: datetime) -> None:
        self._store.answered(carrier_call_id, caller_number(shown), now - REMEMBERED, now)

    def ended(self, carrier_call_id: str, shown: str, now: datetime) -> None:
        self._store.ended(carrier_call_id, caller_number(shown), now - REMEMBERED, now)

    def reply(self, carrier_call_id: str, shown: str, heard: str, digits: str, repeats: int, now: datetime) -> Spoken:
        """What is said to the caller's answer, silence included. An opt-out is in the database when this returns."""
        answer = meant(heard, digits)
        phone = caller_number(shown)
        if phone is not None and answer is Answer.STOP:
            self._store.opted_out(carrier_call_id, phone, now - REMEMBERED, now)
            self._log.info("contact.opted_out", carrier_call=carrier_call_id, source="inbound")
            return Spoken(prompts.OPTED_OUT, listens=False)
        if answer is Answer.AGAIN and repeats < MOST_REPEATS:
            return self.greeting(shown, now)
        return Spoken(prompts.THANKS_FOR_CALLING, listens=False)
