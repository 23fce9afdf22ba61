"""The resources Recordings and Recording, of the account and of a call. Source: the OpenAPI document; docs/voice/api/recording."""

from __future__ import annotations

import asyncio

from workers.phone_simulator.api_errors import ApiError
from workers.phone_simulator.filters import recording_filters
from workers.phone_simulator.ledger import Recording
from workers.phone_simulator.network import PhoneNetwork
from workers.phone_simulator.pages import page_of
from workers.phone_simulator.recording_resource import as_json
from workers.phone_simulator.rest_answers import Answer, Asked
from workers.phone_simulator.values import first_values
from workers.phone_simulator.wave_files import as_wave, mixed


async def recordings(network: PhoneNetwork, asked: Asked) -> Answer:
    call_sid = asked.named.get("call")
    if call_sid is not None:
        network.call(call_sid)
    if asked.method == "POST" and call_sid is not None:
        return Answer(201, _json(network, network.start_recording(call_sid, asked.fields), of_call=True))
    if asked.method != "GET":
        raise ApiError(20004)
    fields = first_values(asked.fields)
    wheres = recording_filters(fields, call_sid)
    return Answer(
        200,
        page_of(
            asked.path,
            "recordings",
            fields,
            lambda limit, before: network.ledger.recording_page(wheres, limit, before),
            lambda each: each.sid,
            lambda each: _json(network, each, of_call=call_sid is not None),
        ),
    )


async def recording(network: PhoneNetwork, asked: Asked) -> Answer:
    call_sid, sid = asked.named.get("call"), asked.named["recording"]
    fields = first_values(asked.fields)
    if asked.method == "POST" and call_sid is not None:
        if fields.get("Status") != "stopped":
            raise ApiError(20001, "the phone simulator can only stop a recording (Status=stopped)")
        if sid == "Twilio.CURRENT":
            raise ApiError(20001, "the phone simulator knows recordings by their sid only")
        return Answer(200, _json(network, network.stop_recording(call_sid, sid), of_call=True))
    found = network.recording(sid, deleted_too=fields.get("IncludeSoftDeleted", "").lower() == "true")
    if call_sid is not None and found.call_sid != call_sid:
        raise ApiError(20404, asked.path)
    if asked.method == "GET":
        return Answer(200, _json(network, found, of_call=call_sid is not None))
    if asked.method == "DELETE":
        network.delete_recording(sid)
        return Answer(204, {})
    raise ApiError(20004)


async def media(network: PhoneNetwork, asked: Asked) -> Answer:
    """The sound, as WAV: what Twilio serves without an ending, too. MP3 is not simulated."""
    name, _, ending = asked.named["recording"].partition(".")
    found = network.recording(name)
    sound = network.ledger.sound(name)
    if asked.method != "GET":
        raise ApiError(20004)
    if sound is None or ending not in {"", "wav"}:
        raise ApiError(20404, asked.path)
    inbound, outbound = sound
    return Answer(200, {}, content=await asyncio.to_thread(_wave, found, inbound, outbound), content_type="audio/x-wav")


def _wave(found: Recording, inbound: bytes, outbound: bytes) -> bytes:
    if found.track != "both":
        return as_wave([inbound if found.track == "inbound" else outbound])
    return as_wave([inbound, outbound] if found.channels == 2 else [mixed(inbound, outbound)])


def _json(network: PhoneNetwork, found: Recording, *, of_call: bool) -> dict[str, object]:
    return as_json(found, network.account_sid, network.base_url, of_call=of_call)
