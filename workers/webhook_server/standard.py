"""Standard mode: the carrier speaks and hears, and each turn of the conversation is a webhook."""

from __future__ import annotations

import asyncio
from urllib.parse import quote
from weakref import WeakValueDictionary

from fastapi import BackgroundTasks
from starlette.concurrency import run_in_threadpool

from core.domain import utterance
from core.domain.calls import AttemptStatus
from core.domain.conversation import ConversationState, Reply
from core.logs import get_logger
from core.plans.model import Plan
from core.storage.conversations import CallContext, TurnRecord
from core.telephony import twiml
from workers.webhook_server.parts import WebhookParts
from workers.webhook_server.webhook import Form

# No conversation has as many; a larger number in an address is none of ours.
MOST_TURNS = 10_000

_log = get_logger()


class StandardMode:
    def __init__(self, parts: WebhookParts) -> None:
        self._parts = parts
        # A webhook that comes twice at once must not take its turn beside the first, and save over the next.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def greet(self, context: CallContext, after: BackgroundTasks) -> str:
        parts = self._parts
        if context.state is not None:
            return await self.resume(context)
        plan = parts.plans.get(context.plan)
        state, reply = parts.orchestrator.begin(plan, spoken_name(context))
        after.add_task(self._begin, context, plan, state, reply)
        return self._say(context.attempt_id, plan, reply, turn=1)

    async def resume(self, context: CallContext) -> str:
        """Go on where a media stream, or a repeated webhook, had left off."""
        parts = self._parts
        plan = parts.plans.get(context.plan)
        name = spoken_name(context)
        if context.state is None:
            state, reply = parts.orchestrator.begin(plan, name)
            await run_in_threadpool(self._begin, context, plan, state, reply)
            return self._say(context.attempt_id, plan, reply, turn=1)
        reply = parts.orchestrator.resume(plan, ConversationState.from_json(context.state), name)
        return self._say(context.attempt_id, plan, reply, turn=context.next_turn)

    async def take_turn(self, form: Form) -> str | None:
        """What the carrier heard, and our reply. One at a time for each call. None: it is no call of ours."""
        lock = self._turns.get(form.attempt_id)
        if lock is None:
            lock = self._turns[form.attempt_id] = asyncio.Lock()
        async with lock:
            context = await asyncio.to_thread(self._parts.conversations.context, form.attempt_id)
            if context is None or is_foreign(context, form):
                return None
            if context.status == AttemptStatus.ENDED:
                heard, digits = form.fields.get("SpeechResult", ""), form.fields.get("Digits", "")
                if "*" in digits or utterance.asks_to_stop(heard):
                    # Whatever became of the call, that was said.
                    await run_in_threadpool(self._parts.conversations.opt_out, form.attempt_id, "call", self._parts.clock.now())
                return twiml.hangup()
            return await self._take_turn(context, form)

    async def _take_turn(self, context: CallContext, form: Form) -> str:
        parts = self._parts
        plan = parts.plans.get(context.plan)
        name = spoken_name(context)
        if context.state is None or context.conversation_id is None:
            # The answer came quicker than the greeting was written down.
            state, greeting = parts.orchestrator.begin(plan, name)
            conversation_id = await run_in_threadpool(self._begin, context, plan, state, greeting)
            next_turn = 1
        else:
            state, conversation_id, next_turn = ConversationState.from_json(context.state), context.conversation_id, context.next_turn
        if state.ended:
            return twiml.hangup()
        turn = form.number("turn", most=MOST_TURNS)
        if turn is not None and turn < next_turn:
            # This turn was taken already: a repeated webhook must not use up another.
            return self._say(context.attempt_id, plan, parts.orchestrator.resume(plan, state, name), turn=next_turn)
        heard, digits = form.fields.get("SpeechResult", ""), form.fields.get("Digits", "")
        checkpoint = state.current.id
        state, reply = await parts.orchestrator.take_turn(plan, state, name, heard, digits)
        now = parts.clock.now()
        if reply.opted_out:
            await run_in_threadpool(parts.conversations.opt_out, context.attempt_id, "call", now)
            _log.info("contact.opted_out", attempt=context.attempt_id, contact=context.contact_id)
        said = heard or (f"[key {digits}]" if digits else None)
        record = TurnRecord(next_turn, checkpoint, said, reply.text, now)
        await run_in_threadpool(parts.conversations.save, conversation_id, None, [record], state.to_json(), reply.ended_by, now)
        _log.info("conversation.turn", attempt=context.attempt_id, turn=next_turn, ends=reply.ends, ended_by=reply.ended_by)
        return self._say(context.attempt_id, plan, reply, turn=next_turn + 1)

    def _begin(self, context: CallContext, plan: Plan, state: ConversationState, reply: Reply) -> str:
        now = self._parts.clock.now()
        conversations = self._parts.conversations
        conversation_id = conversations.open(context.attempt_id, plan.name, plan.digest, "voice", state.to_json(), now)
        greeting = TurnRecord(0, state.current.id, None, reply.text, now)
        conversations.save(conversation_id, None, [greeting], state.to_json(), None, now)
        return conversation_id

    def _say(self, attempt_id: str, plan: Plan, reply: Reply, turn: int) -> str:
        if reply.ends:
            return twiml.say_and_hangup(reply.text, language=plan.language)
        return twiml.say_and_gather(
            reply.text,
            f"{self._parts.settings.public_url}/webhooks/twilio/gather?attempt={quote(attempt_id)}&turn={turn}",
            hints=plan.all_hints(),
            timeout_seconds=max(1, round(plan.silence_seconds)),
            language=plan.language,
        )


def is_foreign(context: CallContext, form: Form) -> bool:
    """Is it another call of the carrier's than the attempt's own?"""
    return context.carrier_call_id not in (None, form.call_sid)


def spoken_name(context: CallContext) -> str:
    """The respelling, if there is one; phonemes in [[...]] are our own voice's, and the carrier's would read them out."""
    if context.pronunciation and not context.pronunciation.startswith("[["):
        return context.pronunciation
    return context.contact_name
