"""Whether a Twilio account is what the settings say: asked once, by a request that changes nothing and costs nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from twilio.base.exceptions import TwilioException
from twilio.rest import Client

from core.errors import ProviderError
from core.telephony.one_request import NoAnswerError, NotSentError, OneRequest

# The SDK looks for an edge and a region in the environment unless it is handed one that is not empty.
_NO_ENVIRONMENT = {"TWILIO_EDGE": "", "TWILIO_REGION": ""}


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    """As the Accounts resource shows it. `status` is active, suspended or closed; `kind` Full or Trial."""

    status: str
    kind: str
    carrier_now: datetime | None


def check_account(account_sid: str, auth_token: str, *, base_url: str | None = None, timeout_seconds: float = 5.0) -> TwilioAccount:
    """`GET /2010-04-01/Accounts/{sid}.json`. Raises ProviderError that says what was answered, or that nothing was."""
    transport = OneRequest(timeout_seconds)
    client = Client(account_sid, auth_token, http_client=transport, environment=_NO_ENVIRONMENT)
    if base_url is not None:
        client.api.base_url = base_url
    try:
        account = client.api.v2010.accounts(account_sid).fetch()
        if account.sid != account_sid:
            raise ValueError("the answer is about another account")
    except (NotSentError, NoAnswerError) as error:
        raise ProviderError(f"Twilio does not answer ({error})", provider="twilio", retryable=True) from error
    except (TwilioException, ValueError, TypeError, AttributeError, KeyError) as error:
        answer = transport.answer
        if answer is None:
            raise ProviderError(f"Twilio's answer cannot be read ({error})", provider="twilio", retryable=True) from error
        if answer.status_code in {401, 403, 404}:
            raise ProviderError(
                f"Twilio does not accept TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN (HTTP {answer.status_code}{_code(answer.text)})",
                provider="twilio",
                retryable=False,
                code=str(answer.status_code),
            ) from error
        raise ProviderError(
            f"Twilio answers HTTP {answer.status_code}{_code(answer.text)} where its account was asked for",
            provider="twilio",
            retryable=True,
        ) from error
    return TwilioAccount(str(account.status), str(account.type), _date(transport))


def _code(body: str) -> str:
    try:
        code = json.loads(body).get("code")
    except (ValueError, AttributeError):
        return ""
    return f", error {code}" if isinstance(code, int) else ""


def _date(transport: OneRequest) -> datetime | None:
    try:
        return parsedate_to_datetime(transport.answer.headers["date"]).astimezone(UTC) if transport.answer is not None else None
    except (KeyError, ValueError, TypeError):
        return None
