"""The addresses that a carrier is given."""

from __future__ import annotations

from urllib.parse import quote


def continue_url(base: str, attempt_id: str, *, stream: int | None = None, tries: int = 0) -> str:
    """Where the carrier asks how an answered call goes on: once stream number `stream` has closed, or when another address failed."""
    closed = "" if stream is None else f"&stream={stream}"
    tried = f"&try={tries}" if tries else ""
    return f"{base}/webhooks/twilio/continue?attempt={quote(attempt_id)}{closed}{tried}"
