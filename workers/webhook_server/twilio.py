"""Twilio's webhooks: voice, status, machine detection, the turns of standard mode, and people who ring us.

Every one is signed and may come late, twice or out of order; those of our own calls name their attempt in the URL we gave.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from urllib.parse import urlsplit

from fastapi import APIRouter, BackgroundTasks, Response
from starlette.concurrency import run_in_threadpool

from core.calls.addresses import continue_url
from core.calls.inbound import MOST_REPEATS, Spoken
from core.calls.settlement import StatusReport
from core.domain import prompts, utterance
from core.domain.calls import AttemptStatus
from core.domain.compliance import CLOSING_MARGIN
from core.logs import get_logger, mask_phone
from core.storage.conversations import CallContext
from core.telephony import stream_token, twiml
from core.telephony.base import CarrierStatus
from workers.webhook_server.parts import WebhookParts
from workers.webhook_server.standard import StandardMode, is_foreign
from workers.webhook_server.webhook import Form, Verified, small_number

# From the answer with the token to the stream's first message.
TOKEN_LIFE = timedelta(seconds=60)
# How often, and for how many seconds each, a call waits for a media server that is being restarted.
RESUME_TRIES = 5
RESUME_PAUSE = 2
MAX_STREAMS = 6
# The media server commits the last turn in a batch: give it this long before concluding that it died.
LAST_TURN_SECONDS = 0.8
MAX_SEQUENCE = 1_000_000
WRONG_NUMBER_LASTS = timedelta(days=1)
INBOUND_HINTS = (*utterance.OPT_OUT_PHRASES, *utterance.REPEAT_PHRASES, *utterance.WHO_PHRASES)

_log = get_logger()


def router(parts: WebhookParts) -> APIRouter:
    routes = APIRouter(prefix="/webhooks/twilio", include_in_schema=False)
    standard = StandardMode(parts)

    @routes.post("/voice")
    async def voice(form: Verified, after: BackgroundTasks) -> Response:
        """The contact picked up. Answered from reads alone; what must be written is written after the answer."""
        if form.is_inbound:
            return await _inbound_voice(parts, form, after)
        context = await asyncio.to_thread(parts.conversations.context, form.attempt_id)
        if context is None:
            after.add_task(_report_unknown, parts, form)
            return _xml(twiml.hangup())
        if is_foreign(context, form) or context.status == AttemptStatus.ENDED:
            # A second call with this attempt's address; or one given up, cancelled or settled: nobody is to be talked to.
            _log.warning("webhook.voice_refused", attempt=form.attempt_id, carrier_call=form.call_sid, status=context.status)
            after.add_task(_apply_status, parts, form, CarrierStatus.IN_PROGRESS)
            return _xml(twiml.hangup())
        refusal = await _refusal(parts, form, context)
        if refusal is not None:
            return _xml(refusal)
        after.add_task(parts.conversations.served, form.attempt_id, form.call_sid, parts.clock.now())
        _log.info("webhook.voice", attempt=form.attempt_id, carrier_call=form.call_sid, mode=context.mode)
        if context.mode == "enhanced":
            # Always the first stream's: a repeated webhook must not open a second one beside the call's own.
            return _xml(_stream(parts, context, form.call_sid, epoch=1))
        return _xml(await standard.greet(context, after))

    @routes.post("/continue")
    async def go_on(form: Verified, after: BackgroundTasks) -> Response:
        """The media stream closed, or another address failed: the conversation is over, or the call goes on."""
        context = await _after_last_turn(parts, form.attempt_id)
        if context is None or is_foreign(context, form):
            after.add_task(_report_unknown, parts, form)
            return _xml(twiml.hangup())
        if context.conversation_state in ("complete", "abandoned") or context.status == AttemptStatus.ENDED:
            return _xml(twiml.hangup())
        if not context.answered:
            # The voice webhook did not get through: this is the first that we hear of the answer.
            refusal = await _refusal(parts, form, context)
            if refusal is not None:
                return _xml(refusal)
            after.add_task(parts.conversations.served, form.attempt_id, form.call_sid, parts.clock.now())
        if context.mode == "standard":
            return _xml(await standard.resume(context))
        tries = form.number("try", most=MAX_STREAMS - 1) if "try" in form.query else 0
        if context.stream_epoch >= MAX_STREAMS or tries is None:
            # It breaks every time: the line must not be kept open for ever.
            _log.error("call.streams_exhausted", attempt=form.attempt_id, streams=context.stream_epoch)
            return _xml(twiml.hangup())
        # The stream that has closed, as the address says: a repeated webhook gets the token that was used up already.
        closed = form.number("stream", most=MAX_STREAMS)
        epoch = (context.stream_epoch if closed is None else min(closed, context.stream_epoch)) + 1
        after.add_task(parts.conversations.document_fetched, form.attempt_id, context.mode, parts.clock.now())
        if await _media_ready(parts):
            _log.warning("call.stream_resumed", attempt=form.attempt_id, epoch=epoch)
            return _xml(_stream(parts, context, form.call_sid, epoch=epoch, tries=tries + 1))
        if tries < RESUME_TRIES:
            url = continue_url(parts.settings.public_url, form.attempt_id, stream=epoch - 1, tries=tries + 1)
            return _xml(twiml.pause_and_redirect(RESUME_PAUSE, url))
        _log.warning("call.standard_mode", attempt=form.attempt_id, reason="no media server")
        after.add_task(parts.conversations.document_fetched, form.attempt_id, "standard", parts.clock.now())
        return _xml(await standard.resume(context))

    @routes.post("/gather")
    async def gather(form: Verified, after: BackgroundTasks) -> Response:
        """One turn of standard mode: what the carrier heard, and our reply."""
        document = await standard.take_turn(form)
        if document is None:
            after.add_task(_report_unknown, parts, form)
        return _xml(document or twiml.hangup())

    @routes.post("/inbound")
    async def inbound(form: Verified) -> Response:
        """What somebody who rang us answered."""
        again = form.number("again", most=MOST_REPEATS)
        heard, digits = form.fields.get("SpeechResult", ""), form.fields.get("Digits", "")
        repeats = MOST_REPEATS if again is None else again
        shown = form.fields.get("From", "")
        said = await run_in_threadpool(parts.inbound.reply, form.call_sid, shown, heard, digits, repeats, parts.clock.now())
        return _xml(_inbound_document(parts, said, repeats + 1))

    @routes.post("/status")
    async def status(form: Verified) -> Response:
        said = form.fields.get("CallStatus", "")
        try:
            carrier_status = CarrierStatus(said)
        except ValueError:
            _log.warning("webhook.unknown_status", status=said[:20], attempt=form.attempt_id)
            return Response(status_code=204)
        # Writes have threads of their own: while the database is locked, the voice webhook still reads.
        if not form.is_inbound:
            await run_in_threadpool(_apply_status, parts, form, carrier_status)
        elif carrier_status.is_final:
            await run_in_threadpool(parts.inbound.ended, form.call_sid, form.fields.get("From", ""), parts.clock.now())
        return Response(status_code=204)

    @routes.post("/amd")
    async def machine_detection(form: Verified) -> Response:
        context = await asyncio.to_thread(parts.conversations.context, form.attempt_id)
        if context is None or is_foreign(context, form):
            await run_in_threadpool(_report_unknown, parts, form)
            return Response(status_code=204)
        answered_by = form.fields.get("AnsweredBy", "unknown")[:30]
        _log.info("webhook.answered_by", attempt=form.attempt_id, answered_by=answered_by)
        await run_in_threadpool(parts.conversations.mark_answered_by, form.attempt_id, answered_by, parts.clock.now())
        return Response(status_code=204)

    return routes


async def _refusal(parts: WebhookParts, form: Form, context: CallContext) -> str | None:
    """What is answered to a pick-up that nobody of ours may talk to (any more); None when somebody may."""
    paused = await asyncio.to_thread(parts.control.paused) is not None
    if context.unwanted or paused or parts.clock.now() > context.dial_until + CLOSING_MARGIN:
        # Picked up after it should have stopped ringing; the carrier's final status settles it.
        _log.warning("webhook.voice_too_late", attempt=form.attempt_id, unwanted=context.unwanted, paused=paused)
        return twiml.hangup()
    draining_since = parts.draining_since()
    if draining_since is not None and context.dialled_at > draining_since:
        # What rang before is talked to: it is what we drain. What was dialled since would keep us from ever ending.
        _log.warning("webhook.voice_while_draining", attempt=form.attempt_id)
        return twiml.say_and_hangup(prompts.NOT_NOW)
    return None


def _apply_status(parts: WebhookParts, form: Form, status: CarrierStatus) -> None:
    sequence = small_number(form.fields.get("SequenceNumber", ""), MAX_SEQUENCE)
    applied = parts.settlement.apply(
        StatusReport(
            attempt_id=form.attempt_id,
            carrier_call_id=form.call_sid,
            status=status,
            source="twilio:status",
            external_id=f"{form.call_sid}:{'' if sequence is None else sequence}:{status}",
            sequence=sequence,
            sip_code=small_number(form.fields.get("SipResponseCode", ""), 999),
            answered_by=form.fields["AnsweredBy"][:30] if "AnsweredBy" in form.fields else None,
        ),
        parts.clock.now(),
    )
    _log.info("webhook.status", attempt=form.attempt_id, carrier_call=form.call_sid, status=status, sequence=sequence, applied=applied)


def _report_unknown(parts: WebhookParts, form: Form) -> None:
    _log.error("webhook.unknown_call", carrier_call=form.call_sid, direction=form.fields.get("Direction"))
    parts.problems.report_unknown_call(form.call_sid, parts.clock.now())


# --- somebody rings us ------------------------------------------------------------------------------------------------


async def _inbound_voice(parts: WebhookParts, form: Form, after: BackgroundTasks) -> Response:
    shown, rung = form.fields.get("From", ""), form.fields.get("To", "")
    if rung != parts.own_number:
        after.add_task(_report_wrong_number, parts, rung)
        return _xml(twiml.hangup())
    if parts.draining_since() is not None:
        return _xml(twiml.reject_busy())
    now = parts.clock.now()
    said = await asyncio.to_thread(parts.inbound.greeting, shown, now)
    after.add_task(parts.inbound.answered, form.call_sid, shown, now)
    _log.info("webhook.inbound", carrier_call=form.call_sid, caller=mask_phone(shown), listens=said.listens)
    return _xml(_inbound_document(parts, said, 0))


def _inbound_document(parts: WebhookParts, said: Spoken, repeats: int) -> str:
    if not said.listens:
        return twiml.say_and_hangup(said.text, language=said.language)
    url = f"{parts.settings.public_url}/webhooks/twilio/inbound?again={repeats}"
    return twiml.say_and_gather(said.text, url, hints=INBOUND_HINTS, language=said.language)


def _report_wrong_number(parts: WebhookParts, rung: str) -> None:
    _log.error("webhook.wrong_number", rung=mask_phone(rung))
    detail = f"a call to {mask_phone(rung)} came here, which is not the number we call from: correct its voice address at the carrier"
    parts.problems.report("webhook:number", "webhook", detail, parts.clock.now(), lasts=WRONG_NUMBER_LASTS)


# --- documents --------------------------------------------------------------------------------------------------------


def _xml(document: str) -> Response:
    return Response(document, media_type="text/xml")


def _stream(parts: WebhookParts, context: CallContext, call_sid: str, *, epoch: int, tries: int = 0) -> str:
    token = stream_token.issue(parts.stream_key, context.attempt_id, call_sid, epoch, parts.clock.now() + TOKEN_LIFE)
    after = continue_url(parts.settings.public_url, context.attempt_id, stream=epoch, tries=tries)
    return twiml.connect_stream(f"{parts.settings.public_media_url}/media", {"token": token}, after)


async def _media_ready(parts: WebhookParts) -> bool:
    # By hand, because httpx, for this one question, would be 0.2 s of each start of the server and 15 MB.
    address = urlsplit(parts.settings.media_health_url)
    try:
        async with asyncio.timeout(0.5):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                writer.write(f"GET {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode())
                status_line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status_line.split()[1:2] == [b"200"]


async def _after_last_turn(parts: WebhookParts, attempt_id: str) -> CallContext | None:
    deadline = asyncio.get_running_loop().time() + LAST_TURN_SECONDS
    while True:
        context = await asyncio.to_thread(parts.conversations.context, attempt_id)
        over = context is None or context.conversation_state != "in_progress"
        if over or asyncio.get_running_loop().time() >= deadline:
            return context
        await asyncio.sleep(0.1)
