"""What lists are filtered by. Source: the OpenAPI document (ListCall, ListRecording, ListCallRecording).

A filter by time is a date (midnight UTC) or an instant; `StartTime<` and `StartTime>` include it, `StartTime` alone means that day.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from workers.phone_simulator.api_errors import ApiError
from workers.phone_simulator.ledger import FINAL_STATUSES
from workers.phone_simulator.ledger_writer import Where
from workers.phone_simulator.values import check_one_of

PAGE_FIELDS = frozenset({"PageSize", "Page", "PageToken"})
_STATUSES = ("queued", "ringing", "in-progress", *sorted(FINAL_STATUSES))
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?")


def call_filters(fields: Mapping[str, str], now: datetime) -> list[Where]:
    """Raises ApiError."""
    wheres = [Where("deleted_at IS NULL"), Where("listed_at <= ?", (now.timestamp(),))]
    for name, column in {"To": "to_number", "From": "from_number", "ParentCallSid": "parent_sid"}.items():
        if name in fields:
            wheres.append(Where(f"{column} = ?", (fields[name],)))
    if "Status" in fields:
        check_one_of(fields, "Status", *_STATUSES)
        # Between being released and ringing, the REST interface still says queued.
        wheres.append(
            Where("status IN ('queued', 'initiated')") if fields["Status"] == "queued" else Where("status = ?", (fields["Status"],))
        )
    times = {"StartTime": "started_at", "EndTime": "ended_at"}
    wheres += _times(fields, times)
    _refuse_others(fields, {"To", "From", "ParentCallSid", "Status"}, times)
    return wheres


def recording_filters(fields: Mapping[str, str], call_sid: str | None) -> list[Where]:
    """`call_sid`: only that call's, as the subresource lists them. Raises ApiError."""
    wheres = [] if call_sid is None else [Where("call_sid = ?", (call_sid,))]
    plain = {"IncludeSoftDeleted", "CallSid"} if call_sid is None else set()
    check_one_of(fields, "IncludeSoftDeleted", "true", "false", "True", "False")
    if fields.get("IncludeSoftDeleted", "false").lower() == "false":
        wheres.append(Where("status <> 'deleted'"))
    if "CallSid" in fields and call_sid is None:
        wheres.append(Where("call_sid = ?", (fields["CallSid"],)))
    times = {"DateCreated": "created_at"}
    wheres += _times(fields, times)
    _refuse_others(fields, plain, times)
    return wheres


def _times(fields: Mapping[str, str], columns: Mapping[str, str]) -> list[Where]:
    wheres = []
    for name, column in columns.items():
        if name in fields:
            day = _instant(name, fields[name]).replace(hour=0, minute=0, second=0, microsecond=0)
            wheres.append(Where(f"{column} >= ? AND {column} < ?", (day.timestamp(), (day + timedelta(days=1)).timestamp())))
        if f"{name}<" in fields:
            wheres.append(Where(f"{column} <= ?", (_instant(name, fields[f"{name}<"]).timestamp(),)))
        if f"{name}>" in fields:
            wheres.append(Where(f"{column} >= ?", (_instant(name, fields[f"{name}>"]).timestamp(),)))
    return wheres


def _refuse_others(fields: Mapping[str, str], plain: set[str], times: Mapping[str, str]) -> None:
    known = plain | PAGE_FIELDS | {f"{name}{sign}" for name in times for sign in ("", "<", ">")}
    unknown = fields.keys() - known
    if unknown:
        raise ApiError(20001, f"a list cannot be filtered by {', '.join(sorted(unknown))}")


def _instant(name: str, text: str) -> datetime:
    try:
        if not _TIME.fullmatch(text):
            raise ValueError(text)
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ApiError(20001, f"{name} must be a date (2026-11-21) or an instant in UTC (2026-11-21T10:00:00Z), not {text}") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
