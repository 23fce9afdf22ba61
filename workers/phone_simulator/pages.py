"""Pages of a list: cut by a token that makes them stand still while new things come in. Source: docs/usage/api, paging."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from workers.phone_simulator.api_errors import ApiError
from workers.phone_simulator.filters import PAGE_FIELDS
from workers.phone_simulator.values import check_whole

_DEFAULT_SIZE = 50
_LARGEST = 1000
_TOKEN = re.compile(r"PA((?:CA|RE)[0-9a-f]{32})")

Row = TypeVar("Row")


def page_of(
    path: str,
    key: str,
    fields: Mapping[str, str],
    find: Callable[[int, str | None], Sequence[Row]],
    sid_of: Callable[[Row], str],
    as_json: Callable[[Row], dict[str, Any]],
) -> dict[str, Any]:
    """The page that `fields` ask for. `find(limit, before)` brings rows, newest first, older than `before`. Raises ApiError."""
    check_whole(fields, "PageSize", 1, _LARGEST)
    check_whole(fields, "Page", 0, 10**6)
    size, number = int(fields.get("PageSize", _DEFAULT_SIZE)), int(fields.get("Page", 0))
    given = fields.get("PageToken")
    token = _TOKEN.fullmatch(given) if given is not None else None
    if given is not None and token is None:
        raise ApiError(20001, "PageToken is not valid")
    if number > 0 and token is None:
        raise ApiError(20001, "a Page but the first needs the PageToken of next_page_uri")
    filters = [(name, value) for name, value in fields.items() if name not in PAGE_FIELDS]
    # One more than fits tells whether another page follows.
    found = find(size + 1, token[1] if token else None)
    shown = found[:size]

    def uri(page: int, after: str | None) -> str:
        place = [("PageToken", f"PA{after}")] if after else []
        return f"{path}?{urlencode([*filters, ('PageSize', str(size)), ('Page', str(page)), *place])}"

    return {
        key: [as_json(row) for row in shown],
        "page": number,
        "page_size": size,
        "start": number * size,
        "end": number * size + max(0, len(shown) - 1),
        "uri": uri(number, token[1] if token else None),
        "first_page_uri": uri(0, None),
        # Twilio lists no way back from a page reached by a token that it can forget; the SDK never asks for it.
        "previous_page_uri": None,
        "next_page_uri": uri(number + 1, sid_of(shown[-1])) if len(found) > size else None,
    }
