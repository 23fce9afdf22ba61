"""What orch says in its own name, outside of any plan: to people who ring us, and where a call cannot be held."""

from __future__ import annotations

from collections.abc import Mapping

OPTED_OUT = "I understand. I will not call this number again. I am sorry to have bothered you. Goodbye."
OPTED_OUT_BEFORE = "This number is on our list of numbers not to be called. We will not call it. Goodbye."
NOT_NOW = "I am sorry, we cannot talk right now. Goodbye."
THANKS_FOR_CALLING = "Thank you for calling. Goodbye."
NUMBER_WITHHELD = (
    "Your number was not shown to us, so I cannot tell whether we called you. "
    "If you want no calls from us, please call again with your number shown. Goodbye."
)
HOW_TO_STOP = "If you want no calls from us, press star, or say: stop calling me. If not, you can just hang up."

_PURPOSES: Mapping[str, str] = {
    "requested": "It was a call that somebody here had asked us for.",
    "informational": "It was a call to tell somebody here something.",
    "marketing": "It was a call to offer somebody here something.",
}


def introduction(caller: str) -> str:
    return f"Hello, this is {caller}, an automated voice."


def rang_you(caller: str, title: str, purpose: str) -> str:
    """To somebody whose number we rang: who, why, and how to stop it. No name is said: whoever rings may be somebody else."""
    parts = (introduction(caller), "We called this number.", f"The call was named: {title}.", _PURPOSES.get(purpose), HOW_TO_STOP)
    return " ".join(filter(None, parts))


def rang_you_for_a_lost_plan(caller: str) -> str:
    return f"{introduction(caller)} We called this number. {HOW_TO_STOP}"


def rang_nobody(caller: str) -> str:
    """To somebody whose number we did not ring of late."""
    return f"{introduction(caller)} I do not find that we called this number in the last days. {HOW_TO_STOP}"


def number_withheld(caller: str) -> str:
    return f"{introduction(caller)} {NUMBER_WITHHELD}"
