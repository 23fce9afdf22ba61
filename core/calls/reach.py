"""Whether the carrier would reach us: our own public URLs, asked from this machine as anybody would ask them."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from datetime import timedelta
from typing import Protocol

# A request that is redirected or slow is one the carrier would have given up on: Twilio waits 15 s, with a caller on the line.
TIMEOUT_SECONDS = 3.0
# How long an answer holds, and how soon a public URL that did not answer is tried again.
FRESH = timedelta(seconds=30)
TRY_AGAIN = timedelta(seconds=5)
_LONGEST_ANSWER = 4096


class PublicUrl(Protocol):
    """Where the carrier can reach us. `problem` blocks."""

    def problem(self) -> str | None:
        """Why a webhook or a media stream would not reach us now, or None."""
        ...


class HealthCheck:
    """Asks `GET {url}/health` of each, and wants our own installation's name in the answer, not somebody else's 200.

    A server that drains answers 503, so that nobody is dialled whom it would turn away.
    """

    def __init__(self, urls: list[str], installation: str) -> None:
        # The same port answers HTTP and websockets.
        self._urls = [f"{re.sub('^ws', 'http', url)}/health" for url in urls]
        self._installation = installation
        # The carrier does not go through this machine's proxy.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())

    def problem(self) -> str | None:
        return next((problem for url in self._urls if (problem := self._problem_of(url)) is not None), None)

    def _problem_of(self, url: str) -> str | None:
        try:
            with self._opener.open(url, timeout=TIMEOUT_SECONDS) as answer:
                body = answer.read(_LONGEST_ANSWER)
        except urllib.error.HTTPError as error:
            error.close()
            return f"{url} answers {error.code}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            return f"{url} does not answer: {reason}"
        try:
            found = json.loads(body)
        except ValueError:
            return f"{url} answers, but not as orch does"
        if not isinstance(found, dict) or found.get("installation") != self._installation:
            return f"{url} is answered by something else than this orch"
        return None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None
