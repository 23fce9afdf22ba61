"""Twilio's error codes: which of them prove that a create placed no call, and what follows from each.

Source: Twilio's error dictionary (docs/api/errors/NNNNN). A code that is not here proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """A create that Twilio refused. `permanent`: this number will never take the call. `operator`: our account or set-up is at fault.

    `destination`: for this number, or its country, and not for every other one.
    """

    meaning: str
    permanent: bool = False
    operator: bool = False
    destination: bool = False


REFUSALS: dict[int, Refusal] = {
    # Too fast, or too many: the same dial may go through later.
    20429: Refusal("too many requests at once"),
    10004: Refusal("too many calls at once for the account"),
    22005: Refusal("more than a day of calls is queued at Twilio"),
    # The number.
    21211: Refusal("the number is not valid", permanent=True),
    21217: Refusal("the number is not valid", permanent=True),
    21214: Refusal("the number cannot be reached", permanent=True),
    # Either the number is a fraud risk, or the account lacks the business profile for all of +1: a person must look.
    21216: Refusal("Twilio blocks calls to the number", permanent=True, operator=True, destination=True),
    # The account and what it may do.
    20003: Refusal("Twilio does not accept TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN", operator=True),
    20404: Refusal("Twilio knows no such account", operator=True),
    10001: Refusal("the Twilio account is not active", operator=True),
    21210: Refusal("TWILIO_FROM_NUMBER is neither owned nor verified", operator=True),
    21212: Refusal("TWILIO_FROM_NUMBER is malformed", operator=True),
    21215: Refusal("calls to this country are not enabled in the Twilio account", operator=True, destination=True),
    21203: Refusal("calls to this country are not enabled in the Twilio account", operator=True, destination=True),
    21219: Refusal("a Twilio trial account only calls verified numbers", operator=True, destination=True),
    573005: Refusal("a Twilio trial account only calls verified numbers", operator=True, destination=True),
    # Our own request. Not the number's fault, and every other dial will fare the same.
    21200: Refusal("Twilio finds the request malformed", operator=True),
    21201: Refusal("the request named no number to call", operator=True),
    21205: Refusal("Twilio does not accept the URL of our webhook; check ORCH_PUBLIC_URL", operator=True),
    21206: Refusal("the request's SendDigits are not valid", operator=True),
    21218: Refusal("the request's ApplicationSid is not valid", operator=True),
    21626: Refusal("the request asked for an unknown status event", operator=True),
}

NO_SUCH_RESOURCE = 20404
CALL_IS_OVER = 21220  # the call is not in the state that the request needs
