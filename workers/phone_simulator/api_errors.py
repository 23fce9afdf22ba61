"""Errors of the REST interface, in Twilio's words. Source: docs/api/errors/NNNNN; numbers for tests: docs/iam/test-credentials."""

from __future__ import annotations

from typing import Any

MESSAGES: dict[int, tuple[int, str]] = {
    20001: (400, "{detail}"),
    20003: (401, "Authenticate"),
    20004: (405, "Method not allowed"),
    20404: (404, "The requested resource {detail} was not found"),
    20429: (429, "Too many concurrent requests"),
    20500: (500, "An internal server error has occurred"),
    20503: (503, "Service unavailable"),
    21201: (400, "No 'To' number specified"),
    21205: (400, "Url is not a valid URL: {detail}"),
    21206: (400, "Invalid SendDigits: {detail}"),
    21210: (400, "The source phone number provided, {detail}, is not yet verified for your account."),
    21211: (400, "The phone number you are attempting to call, {detail}, is not valid."),
    21212: (400, "The source phone number provided, {detail}, is not a valid phone number."),
    21213: (400, "No 'From' number is specified"),
    21214: (400, "The phone number you are attempting to call, {detail}, cannot be reached."),
    21215: (400, "Account not authorized to call {detail}. Perhaps you need to enable some international permissions."),
    21216: (400, "Account not allowed to call {detail}."),
    21217: (400, "Phone number does not appear to be valid: {detail}"),
    21218: (400, "Invalid ApplicationSid: {detail}"),
    21220: (400, "Call is not in-progress. Cannot redirect."),
    21609: (400, "The 'StatusCallback' URL is not a valid URL: {detail}"),
    21626: (400, "Invalid StatusCallbackEvent: {detail}"),
    22005: (400, "The call queue is longer than 24 hours"),
}

MAGIC_TO = {"+15005550001": 21217, "+15005550002": 21214, "+15005550003": 21215, "+15005550004": 21216}
MAGIC_FROM = {"+15005550001": 21212}


class ApiError(Exception):
    def __init__(self, code: int, detail: str = "") -> None:
        self.status, message = MESSAGES[code]
        self.code = code
        self.message = message.format(detail=detail)
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": self.message,
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }
