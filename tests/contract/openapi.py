"""A check of JSON against the vendor's OpenAPI document: types, nulls, enumerations, patterns, and no field too many or too few."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "ORCH_TWILIO_OPENAPI"
BESIDE = Path(__file__).parents[3] / "shared" / "reference" / "twilio_api_v2010.json"
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def load(environment: Mapping[str, str]) -> dict[str, Any]:
    """The document; skips the test where it is not."""
    given = environment.get(VARIABLE)
    path = Path(given) if given else BESIDE
    if not path.is_file():
        pytest.skip(f"Twilio's OpenAPI document is not at {path} (set {VARIABLE})")
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


class Schema:
    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def answer(self, path: str, method: str, status: str) -> dict[str, Any]:
        """The schema of an operation's answer."""
        answer = self._document["paths"][f"/2010-04-01/Accounts/{{AccountSid}}{path}"][method]["responses"][status]
        schema: dict[str, Any] = answer["content"]["application/json"]["schema"]
        return schema

    def fields(self, path: str, method: str) -> set[str]:
        """The fields that an operation takes."""
        operation = self._document["paths"][f"/2010-04-01/Accounts/{{AccountSid}}{path}"][method]
        if method == "get":
            return {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
        (content,) = operation["requestBody"]["content"].values()
        return set(self._resolved(content["schema"])["properties"])

    def faults(self, value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
        """What is not as the schema says."""
        schema = self._resolved(schema)
        if value is None:
            return [] if schema.get("nullable") or "type" not in schema else [f"{where} is null"]
        kind = schema.get("type")
        if kind is None:
            return []
        if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
            return [f"{where} is a {type(value).__name__}, not a {kind}"]
        found = []
        if "enum" in schema and value not in schema["enum"]:
            found.append(f"{where} is {value!r}, not one of {schema['enum']}")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            found.append(f"{where} is {value!r}, not {schema['pattern']}")
        if schema.get("format") == "date-time-rfc-2822":
            found += [] if parsedate_to_datetime(value).utcoffset() is not None else [f"{where} is {value!r}, no instant"]
        if kind == "array":
            found += [fault for n, item in enumerate(value) for fault in self.faults(item, schema["items"], f"{where}[{n}]")]
        if kind == "object" and "properties" in schema:
            properties = schema["properties"]
            found += [f"{where}.{name} is missing" for name in properties.keys() - value.keys()]
            found += [f"{where}.{name} is not in the schema" for name in value.keys() - properties.keys()]
            for name in properties.keys() & value.keys():
                found += self.faults(value[name], properties[name], f"{where}.{name}")
        return found

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema
