"""What the webhook server works with, made once at its start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.calls.inbound import InboundCalls
from core.calls.settlement import Settlement
from core.clock import Clock
from core.conversation.orchestrator import Orchestrator
from core.judge.base import Judge
from core.plans.library import PlanLibrary
from core.settings import Settings
from core.storage.calls import CallStore
from core.storage.contacts import ContactStore
from core.storage.control import ControlStore
from core.storage.conversations import ConversationStore
from core.storage.inbound import InboundStore
from core.storage.jobs import JobStore
from core.storage.journal import JournalStore
from core.storage.problems import ProblemStore
from workers.webhook_server.access import AccessRules


@dataclass(frozen=True, slots=True)
class WebhookParts:
    settings: Settings
    clock: Clock
    account_sid: str
    auth_token: str
    own_number: str  # the one we call from, and the only one that people may ring here
    stream_key: bytes
    installation: str
    access: AccessRules
    settlement: Settlement
    judge: Judge
    orchestrator: Orchestrator
    plans: PlanLibrary
    conversations: ConversationStore
    contacts: ContactStore
    calls: CallStore
    control: ControlStore
    journal: JournalStore
    jobs: JobStore
    problems: ProblemStore
    inbound: InboundCalls
    inbound_calls: InboundStore
    draining_since: Callable[[], datetime | None]
    live_jobs: Callable[[], Mapping[str, Mapping[str, Any]] | None]  # None: the supervisor cannot be asked
