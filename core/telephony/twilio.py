"""The carrier adapter for Twilio, over its own SDK. The phone simulator is reached through it unchanged, by another base URL."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from twilio.base.exceptions import TwilioException
from twilio.http.response import Response
from twilio.rest import Client
from twilio.rest.api.v2010.account.call import CallInstance, CallList

from core.errors import ProviderError
from core.telephony.base import NOT_SENT, CarrierCall, CarrierStatus, DialRequest, DialResult, NotPlaced, Placed, Unknown
from core.telephony.one_request import NoAnswerError, NotSentError, OneRequest
from core.telephony.twilio_errors import CALL_IS_OVER, NO_SUCH_RESOURCE, REFUSALS

PAGE_SIZE = 1000  # Twilio's largest
MAX_PAGES = 1000
STATUS_EVENTS = ["initiated", "ringing", "answered", "completed"]
_CALL_SID = re.compile(r"CA[0-9a-f]{32}")
# The SDK looks for an edge, a region and credentials in the environment unless it is handed one that is not empty.
_NO_ENVIRONMENT = {"TWILIO_EDGE": "", "TWILIO_REGION": ""}


class TwilioCarrier:
    """Safe to share between threads: each request has its own client and its own connection.

    `base_url` replaces https://api.twilio.com. `timeout_seconds` bounds each request but the dial, which brings its own deadline.
    """

    name = "twilio"

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        from_number: str,
        base_url: str | None = None,
        timeout_seconds: float = 15.0,
        page_size: int = PAGE_SIZE,
    ) -> None:
        self.account = account_sid
        self._auth_token = auth_token
        self._from_number = from_number
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._page_size = page_size

    def dial(self, request: DialRequest, *, deadline_seconds: float) -> DialResult:
        """Place one call, by one request, within `deadline_seconds` in all. Never raises for what the network or the carrier does."""
        calls, transport = self._calls(deadline_seconds)
        options: dict[str, Any] = {}
        if request.fallback_url is not None:
            options |= {"fallback_url": request.fallback_url, "fallback_method": "POST"}
        if request.amd_url is not None:
            options |= {
                "machine_detection": "Enable",
                "async_amd": "true",
                "async_amd_status_callback": request.amd_url,
                "async_amd_status_callback_method": "POST",
            }
        try:
            call = calls.create(
                to=request.to,
                from_=self._from_number,
                url=request.voice_url,
                method="POST",
                status_callback=request.status_url,
                status_callback_method="POST",
                status_callback_event=STATUS_EVENTS,
                timeout=request.ring_seconds,
                time_limit=request.max_seconds,
                **options,
            )
        except NotSentError as error:
            return NotPlaced(NOT_SENT, f"Twilio was not reached ({error})", permanent=False, operator=False)
        except NoAnswerError as error:
            return Unknown(f"Twilio may have the call ({error})")
        except (TwilioException, ValueError, TypeError, AttributeError, KeyError):
            # The last four are the SDK choking on a body that is not the JSON object it expects.
            return _refused_or_unknown(transport.answer)
        return self._placed(call, transport.answer)

    def hang_up(self, carrier_call_id: str) -> None:
        """See Carrier.hang_up. Raises ProviderError when the call may still be going on."""
        # A queued or ringing call is cancelled and a live one is completed. It may move from one to the other meanwhile.
        for _ in range(3):
            call = self.fetch(carrier_call_id)
            if call is None or call.status.is_final:
                return
            waiting = call.status in {CarrierStatus.QUEUED, CarrierStatus.INITIATED, CarrierStatus.RINGING}
            if self._ended_by(carrier_call_id, "canceled" if waiting else "completed"):
                return
        raise ProviderError("the call would not end: its state kept changing", provider=self.name, retryable=True)

    def redirect(self, carrier_call_id: str, url: str) -> None:
        """See Carrier.redirect. Raises ProviderError when nobody can say whether the call was told."""
        calls, transport = self._calls(self._timeout_seconds)
        try:
            calls(carrier_call_id).update(url=url, method="POST")
        except (NotSentError, NoAnswerError, TwilioException, ValueError, TypeError, AttributeError, KeyError) as error:
            if _code(transport.answer) in {NO_SUCH_RESOURCE, CALL_IS_OVER}:
                return
            raise self._failed("redirect the call", transport.answer, error) from error

    def carrier_now(self) -> datetime | None:
        calls, transport = self._calls(self._timeout_seconds)
        try:
            calls.page(page_size=1)
        except (NotSentError, NoAnswerError, TwilioException, ValueError, TypeError, AttributeError, KeyError) as error:
            raise self._failed("read the clock", transport.answer, error) from error
        return _carrier_now(transport.answer)

    def fetch(self, carrier_call_id: str) -> CarrierCall | None:
        calls, transport = self._calls(self._timeout_seconds)
        try:
            return self._record(calls(carrier_call_id).fetch())
        except (NotSentError, NoAnswerError, TwilioException, ValueError, TypeError, AttributeError, KeyError) as error:
            if _code(transport.answer) == NO_SUCH_RESOURCE:
                return None
            raise self._failed("read the call", transport.answer, error) from error

    def list_calls(self, to: str, since: datetime) -> Iterator[CarrierCall]:
        """All calls we placed to `to` and that were created at or after `since`. Everything is read before the first is returned.

        Raises ProviderError when any page is missing or incomplete. StartTime is not asked for: a queued call has none.
        """
        calls, transport = self._calls(self._timeout_seconds)
        found: list[CarrierCall] = []
        seen: set[str] = set()
        try:
            page = calls.page(to=to, page_size=self._page_size)
            for _ in range(MAX_PAGES):
                next_uri = _next_page(transport.answer)
                found.extend(self._record(call) for call in page)
                if next_uri is None:
                    return iter([c for c in found if c.direction == "outbound-api" and (c.created_at is None or c.created_at >= since)])
                if next_uri in seen:
                    raise ProviderError("Twilio's list of calls goes in a circle", provider=self.name, retryable=True)
                seen.add(next_uri)
                page = calls.get_page(page.next_page_url)
        except (NotSentError, NoAnswerError, TwilioException, ValueError, TypeError, AttributeError, KeyError) as error:
            raise self._failed("list the calls", transport.answer, error) from error
        raise ProviderError(f"Twilio's list of calls has over {MAX_PAGES} pages", provider=self.name, retryable=False)

    def _calls(self, deadline_seconds: float) -> tuple[CallList, OneRequest]:
        transport = OneRequest(deadline_seconds)
        client = Client(self.account, self._auth_token, http_client=transport, environment=_NO_ENVIRONMENT)
        if self._base_url is not None:
            client.api.base_url = self._base_url
        return client.calls, transport

    def _placed(self, call: CallInstance, answer: Response | None) -> DialResult:
        carrier_now = _carrier_now(answer)
        if not isinstance(call.sid, str) or not _CALL_SID.fullmatch(call.sid) or call.account_sid != self.account:
            return Unknown("Twilio accepted the request, but its answer names no call of ours", carrier_now)
        # From here on the call exists: nothing odd in the rest of the answer may hide that.
        try:
            status = CarrierStatus(str(call.status))
        except ValueError:
            status = CarrierStatus.QUEUED
        return Placed(call.sid, status, _seconds(call.queue_time, divisor=1000) or 0.0, carrier_now)

    def _ended_by(self, carrier_call_id: str, status: str) -> bool:
        calls, transport = self._calls(self._timeout_seconds)
        try:
            call = self._record(calls(carrier_call_id).update(status=status))
        except (NotSentError, NoAnswerError, TwilioException, ValueError, TypeError, AttributeError, KeyError) as error:
            code = _code(transport.answer)
            if code == NO_SUCH_RESOURCE:
                return True
            if code == CALL_IS_OVER:
                return False
            raise self._failed("end the call", transport.answer, error) from error
        # A completed call's record may lag behind; a cancelled one that is still open has been answered in between.
        return status == "completed" or call.status.is_final

    def _record(self, call: CallInstance) -> CarrierCall:
        """Raises ValueError for a record that does not say which call it is, of which account, or where it stands."""
        if not isinstance(call.sid, str) or not call.sid.startswith("CA") or call.account_sid != self.account:
            raise ValueError("a record without a call of this account")
        seconds = _seconds(call.duration)
        return CarrierCall(
            carrier_call_id=call.sid,
            to=str(call.to or ""),
            status=CarrierStatus(str(call.status)),
            direction=str(call.direction or ""),
            created_at=call.date_created,
            seconds=None if seconds is None else int(seconds),
            answered_by=call.answered_by,
        )

    def _failed(self, doing: str, answer: Response | None, error: Exception) -> ProviderError:
        if answer is None:
            return ProviderError(f"could not {doing}: {error}", provider=self.name, retryable=True)
        code = _code(answer)
        retryable = answer.status_code < 300 or answer.status_code in {408, 429} or answer.status_code >= 500
        told = f"HTTP {answer.status_code}" + (f", error {code}" if code else "")
        if answer.status_code < 300:
            told += ", but the answer is incomplete or unreadable"
        return ProviderError(
            f"could not {doing}: Twilio answered {told}", provider=self.name, retryable=retryable, code=str(code or answer.status_code)
        )


def _refused_or_unknown(answer: Response | None) -> DialResult:
    """Only Twilio's own JSON error, with a code known to mean that nothing was placed, is a refusal."""
    if answer is None:
        return Unknown("Twilio's answer could not be read")
    carrier_now = _carrier_now(answer)
    code = _code(answer)
    refusal = REFUSALS.get(code) if code is not None else None
    if refusal is None or not 400 <= answer.status_code < 500 or answer.status_code == 408:
        told = f"HTTP {answer.status_code}" + (f", error {code}" if code is not None else "")
        return Unknown(f"Twilio's answer does not say whether it has the call ({told})", carrier_now)
    meaning = f"{refusal.meaning} (Twilio error {code})"
    return NotPlaced(str(code), meaning, refusal.permanent, refusal.operator, carrier_now, refusal.destination)


def _body(answer: Response | None) -> dict[str, Any]:
    try:
        body = json.loads(answer.text) if answer is not None else None
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _code(answer: Response | None) -> int | None:
    """Twilio's error code, from an error's JSON body."""
    if answer is None or answer.status_code < 400:
        return None
    code = _body(answer).get("code")
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _next_page(answer: Response | None) -> str | None:
    """The SDK takes a page without next_page_uri for the last one; a page cut short looks the same, so the key must be there."""
    body = _body(answer)
    if not isinstance(body.get("calls"), list) or "next_page_uri" not in body:
        raise ValueError("a page without its calls or its end")
    next_uri = body["next_page_uri"]
    if next_uri is not None and not isinstance(next_uri, str):
        raise ValueError("next_page_uri is no text")
    return next_uri or None


def _carrier_now(answer: Response | None) -> datetime | None:
    try:
        return parsedate_to_datetime(answer.headers["date"]).astimezone(UTC) if answer is not None and answer.headers else None
    except (KeyError, ValueError, TypeError):
        return None


def _seconds(value: object, divisor: int = 1) -> float | None:
    try:
        return max(0.0, float(str(value)) / divisor) if value is not None else None
    except ValueError:
        return None
