"""Twilio's webhooks: voice, status, machine detection, and the turns of standard mode.

Every one is signed, names its attempt in the URL we gave, and may come late, twice or out of order.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated
from urllib.parse import parse_qsl, quote

import httpx
from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException, Request, Response

from core.calls.settlement import StatusReport
from core.domain.calls import AttemptStatus
from core.domain.compliance import CLOSING_MARGIN
from core.domain.conversation import ConversationState, Reply
from core.logs import get_logger
from core.plans.model import Plan
from core.storage.conversations import CallContext, TurnRecord
from core.telephony import stream_token, twiml
from core.telephony.base import CarrierStatus
from core.telephony.signature import SIGNATURE_HEADER, is_authentic
from workers.webhook_server.parts import WebhookParts

# Twilio's own forms are a few kilobytes.
MAX_BODY = 64 * 1024
# From the answer with the token to the stream's first message.
TOKEN_LIFE = timedelta(seconds=60)
# How often, and for how many seconds each, a call waits for a media server that is being restarted.
RESUME_TRIES = 5
RESUME_PAUSE = 2
MAX_STREAMS = 6
# The media server commits the last turn in a batch: give it this long before concluding that it died.
LAST_TURN_SECONDS = 0.8

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Form:
    """A verified webhook: its form fields, and the attempt its URL names."""

    fields: dict[str, str]
    attempt_id: str

    @property
    def call_sid(self) -> str:
        return self.fields.get("CallSid", "")


async def verified(request: Request) -> Form:
    """The webhook's form, if the carrier signed it. Raises HTTPException 403 or 413."""
    parts: WebhookParts = request.app.state.parts
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise HTTPException(413, f"a webhook body may have {MAX_BODY} bytes")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"a webhook body may have {MAX_BODY} bytes")
    fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    query = request.url.query
    url = f"{parts.settings.public_url}{request.url.path}" + (f"?{query}" if query else "")
    if not is_authentic(parts.auth_token, url, fields, request.headers.get(SIGNATURE_HEADER)):
        _log.warning("webhook.refused", path=request.url.path, reason="signature", client=request.client.host if request.client else None)
        raise HTTPException(403, "the signature does not match")
    return Form(dict(fields), request.query_params.get("attempt", ""))


Verified = Annotated[Form, Depends(verified)]


def router(parts: WebhookParts) -> APIRouter:
    routes = APIRouter(prefix="/webhooks/twilio", include_in_schema=False)
    base = parts.settings.public_url

    @routes.post("/voice")
    async def voice(form: Verified, after: BackgroundTasks) -> Response:
        """The contact picked up. Answered from reads alone; what must be written is written after the answer."""
        context = await asyncio.to_thread(parts.conversations.context, form.attempt_id)
        if context is None or _is_foreign(context, form):
            after.add_task(_report_unknown, parts, form)
            return _xml(twiml.hangup())
        if context.status == AttemptStatus.ENDED:
            # Given up, cancelled or settled: whoever answers now must not be talked to.
            _log.warning("webhook.voice_for_ended_attempt", attempt=form.attempt_id)
            after.add_task(_apply_status, parts, form, CarrierStatus.IN_PROGRESS)
            return _xml(twiml.hangup())
        if context.unwanted or parts.clock.now() > context.dial_until + CLOSING_MARGIN:
            # Picked up after it should have stopped ringing; the carrier's final status settles it.
            _log.warning("webhook.voice_too_late", attempt=form.attempt_id, unwanted=context.unwanted)
            return _xml(twiml.hangup())
        after.add_task(parts.conversations.served, form.attempt_id, form.call_sid, parts.clock.now())
        _log.info("webhook.voice", attempt=form.attempt_id, carrier_call=form.call_sid, mode=context.mode)
        if context.mode == "enhanced":
            return _xml(_stream(parts, context, form.call_sid))
        return _xml(await _standard_greeting(parts, context, after))

    @routes.post("/continue")
    async def go_on(form: Verified, request: Request) -> Response:
        """The media stream closed: the conversation is over, or the media server died and the call goes on."""
        context = await _after_last_turn(parts, form.attempt_id)
        if context is None or _is_foreign(context, form) or context.conversation_state in ("complete", "abandoned"):
            return _xml(twiml.hangup())
        tries = int(request.query_params.get("try", "0")) if request.query_params.get("try", "0").isdecimal() else RESUME_TRIES
        if context.status == AttemptStatus.ENDED:
            return _xml(twiml.hangup())
        if context.stream_epoch >= MAX_STREAMS or tries >= MAX_STREAMS:
            # It breaks every time: the line must not be kept open for ever.
            _log.error("call.streams_exhausted", attempt=form.attempt_id, streams=context.stream_epoch)
            return _xml(twiml.hangup())
        if await _media_ready(parts):
            _log.warning("call.stream_resumed", attempt=form.attempt_id, epoch=context.stream_epoch + 1)
            return _xml(_stream(parts, context, form.call_sid, tries + 1))
        if tries < RESUME_TRIES:
            url = f"{base}/webhooks/twilio/continue?attempt={quote(form.attempt_id)}&try={tries + 1}"
            return _xml(twiml.pause_and_redirect(RESUME_PAUSE, url))
        _log.warning("call.standard_mode", attempt=form.attempt_id, reason="no media server")
        return _xml(await _standard_resume(parts, context))

    @routes.post("/gather")
    async def gather(form: Verified, request: Request) -> Response:
        """One turn of standard mode: what the carrier heard, and our reply."""
        context = await asyncio.to_thread(parts.conversations.context, form.attempt_id)
        if context is None or _is_foreign(context, form) or context.status == AttemptStatus.ENDED:
            return _xml(twiml.hangup())
        turn = request.query_params.get("turn", "")
        return _xml(await _standard_turn(parts, context, form, int(turn) if turn.isdecimal() else None))

    @routes.post("/status")
    async def status(form: Verified) -> Response:
        try:
            carrier_status = CarrierStatus(form.fields.get("CallStatus", ""))
        except ValueError:
            _log.warning("webhook.unknown_status", status=form.fields.get("CallStatus", "")[:20], attempt=form.attempt_id)
            return Response(status_code=204)
        await asyncio.to_thread(_apply_status, parts, form, carrier_status)
        return Response(status_code=204)

    @routes.post("/amd")
    async def machine_detection(form: Verified) -> Response:
        answered_by = form.fields.get("AnsweredBy", "unknown")[:30]
        _log.info("webhook.answered_by", attempt=form.attempt_id, answered_by=answered_by)
        await asyncio.to_thread(parts.conversations.mark_answered_by, form.attempt_id, answered_by, parts.clock.now())
        return Response(status_code=204)

    return routes


def _spoken_name(context: CallContext) -> str:
    """The respelling, if there is one; phonemes in [[...]] are our own voice's, and the carrier's would read them out."""
    if context.pronunciation and not context.pronunciation.startswith("[["):
        return context.pronunciation
    return context.contact_name


def _is_foreign(context: CallContext, form: Form) -> bool:
    return not form.call_sid or context.carrier_call_id not in (None, form.call_sid)


def _apply_status(parts: WebhookParts, form: Form, status: CarrierStatus) -> None:
    sequence = form.fields.get("SequenceNumber", "")
    sip = form.fields.get("SipResponseCode", "")
    applied = parts.settlement.apply(
        StatusReport(
            attempt_id=form.attempt_id,
            carrier_call_id=form.call_sid,
            status=status,
            source="twilio:status",
            external_id=f"{form.call_sid}:{sequence}:{status}",
            sequence=int(sequence) if sequence.isdecimal() else None,
            sip_code=int(sip) if sip.isdecimal() else None,
            answered_by=form.fields.get("AnsweredBy"),
        ),
        parts.clock.now(),
    )
    _log.info("webhook.status", attempt=form.attempt_id, carrier_call=form.call_sid, status=status, sequence=sequence, applied=applied)


def _report_unknown(parts: WebhookParts, form: Form) -> None:
    _log.error("webhook.unknown_call", carrier_call=form.call_sid, direction=form.fields.get("Direction"))
    parts.problems.report(
        f"webhook:{form.call_sid}", "webhook", f"the carrier asked about call {form.call_sid}, which nobody here placed", parts.clock.now()
    )


def _xml(document: str) -> Response:
    return Response(document, media_type="text/xml")


def _stream(parts: WebhookParts, context: CallContext, call_sid: str, tries: int = 0) -> str:
    token = stream_token.issue(parts.stream_key, context.attempt_id, call_sid, context.stream_epoch + 1, parts.clock.now() + TOKEN_LIFE)
    return twiml.connect_stream(
        f"{parts.settings.public_media_url}/media",
        {"token": token},
        f"{parts.settings.public_url}/webhooks/twilio/continue?attempt={quote(context.attempt_id)}" + (f"&try={tries}" if tries else ""),
    )


async def _media_ready(parts: WebhookParts) -> bool:
    try:
        async with httpx.AsyncClient(timeout=0.5, trust_env=False) as client:
            return (await client.get(parts.settings.media_health_url)).status_code == 200
    except httpx.HTTPError:
        return False


async def _after_last_turn(parts: WebhookParts, attempt_id: str) -> CallContext | None:
    deadline = asyncio.get_running_loop().time() + LAST_TURN_SECONDS
    while True:
        context = await asyncio.to_thread(parts.conversations.context, attempt_id)
        over = context is None or context.conversation_state != "in_progress"
        if over or asyncio.get_running_loop().time() >= deadline:
            return context
        await asyncio.sleep(0.1)


async def _standard_greeting(parts: WebhookParts, context: CallContext, after: BackgroundTasks) -> str:
    plan = parts.plans.get(context.plan)
    if context.state is not None:
        return await _standard_resume(parts, context)
    state, reply = parts.orchestrator.begin(plan, _spoken_name(context))
    after.add_task(_begin, parts, context, plan, state, reply)
    return _say(parts, context.attempt_id, plan, reply, turn=1)


def _begin(parts: WebhookParts, context: CallContext, plan: Plan, state: ConversationState, reply: Reply) -> str:
    now = parts.clock.now()
    conversation_id = parts.conversations.open(context.attempt_id, plan.name, plan.digest, "voice", state.to_json(), now)
    greeting = TurnRecord(0, state.current.id, None, reply.text, now)
    parts.conversations.save(conversation_id, None, [greeting], state.to_json(), None, now)
    return conversation_id


async def _standard_resume(parts: WebhookParts, context: CallContext) -> str:
    plan = parts.plans.get(context.plan)
    name = _spoken_name(context)
    if context.state is None:
        state, reply = parts.orchestrator.begin(plan, name)
        await asyncio.to_thread(_begin, parts, context, plan, state, reply)
        return _say(parts, context.attempt_id, plan, reply, turn=1)
    reply = parts.orchestrator.resume(plan, ConversationState.from_json(context.state), name)
    return _say(parts, context.attempt_id, plan, reply, turn=context.next_turn)


async def _standard_turn(parts: WebhookParts, context: CallContext, form: Form, turn: int | None) -> str:
    plan = parts.plans.get(context.plan)
    name = _spoken_name(context)
    if context.state is None or context.conversation_id is None:
        # The answer came quicker than the greeting was written down.
        state, greeting = parts.orchestrator.begin(plan, name)
        conversation_id = await asyncio.to_thread(_begin, parts, context, plan, state, greeting)
        next_turn = 1
    else:
        state, conversation_id, next_turn = ConversationState.from_json(context.state), context.conversation_id, context.next_turn
    if state.ended:
        return twiml.hangup()
    if turn is not None and turn < next_turn:
        # This turn was taken already: a repeated webhook must not use up another.
        return _say(parts, context.attempt_id, plan, parts.orchestrator.resume(plan, state, name), turn=next_turn)
    heard, digits = form.fields.get("SpeechResult", ""), form.fields.get("Digits", "")
    checkpoint = state.current.id
    state, reply = await parts.orchestrator.take_turn(plan, state, name, heard, digits)
    now = parts.clock.now()
    if reply.opted_out:
        await asyncio.to_thread(parts.conversations.opt_out, context.attempt_id, "call", now)
        _log.info("contact.opted_out", attempt=context.attempt_id, contact=context.contact_id)
    said = heard or (f"[key {digits}]" if digits else None)
    record = TurnRecord(next_turn, checkpoint, said, reply.text, now)
    await asyncio.to_thread(parts.conversations.save, conversation_id, None, [record], state.to_json(), reply.ended_by, now)
    _log.info("conversation.turn", attempt=context.attempt_id, turn=next_turn, ends=reply.ends, ended_by=reply.ended_by)
    return _say(parts, context.attempt_id, plan, reply, turn=next_turn + 1)


def _say(parts: WebhookParts, attempt_id: str, plan: Plan, reply: Reply, turn: int) -> str:
    if reply.ends:
        return twiml.say_and_hangup(reply.text, language=plan.language)
    return twiml.say_and_gather(
        reply.text,
        f"{parts.settings.public_url}/webhooks/twilio/gather?attempt={quote(attempt_id)}&turn={turn}",
        hints=plan.all_hints(),
        timeout_seconds=max(1, round(plan.silence_seconds)),
        language=plan.language,
    )
