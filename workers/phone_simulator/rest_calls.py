"""The resources Calls and Call. Source: the OpenAPI document (CreateCall, ListCall, FetchCall, UpdateCall, DeleteCall)."""

from __future__ import annotations

from datetime import UTC, datetime

from workers.phone_simulator.api_errors import ApiError
from workers.phone_simulator.call_resource import as_json
from workers.phone_simulator.filters import call_filters
from workers.phone_simulator.network import PhoneNetwork
from workers.phone_simulator.pages import page_of
from workers.phone_simulator.rest_answers import Answer, Asked
from workers.phone_simulator.values import first_values


async def calls(network: PhoneNetwork, asked: Asked) -> Answer:
    if asked.method == "POST":
        return Answer(201, as_json(network.create(asked.fields), network.account_sid))
    if asked.method != "GET":
        raise ApiError(20004)
    fields = first_values(asked.fields)
    wheres = call_filters(fields, datetime.now(UTC))
    return Answer(
        200,
        page_of(
            asked.path,
            "calls",
            fields,
            lambda limit, before: network.ledger.page(wheres, limit, before),
            lambda call: call.sid,
            lambda call: as_json(call, network.account_sid),
        ),
    )


async def call(network: PhoneNetwork, asked: Asked) -> Answer:
    sid = asked.named["call"]
    match asked.method:
        case "GET":
            return Answer(200, as_json(network.call(sid), network.account_sid))
        case "POST":
            network.update(sid, asked.fields)
            await network.settled(sid)
            return Answer(200, as_json(network.call(sid), network.account_sid))
        case "DELETE":
            network.delete(sid)
            return Answer(204, {})
        case _:
            raise ApiError(20004)


async def nothing(_: PhoneNetwork, asked: Asked) -> Answer:
    raise ApiError(20404, asked.path)
