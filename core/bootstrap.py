"""From settings to the objects each worker needs. The only module that names concrete providers.

Everything is imported on demand: a window-scheduler that never dials must not pay for a telephone SDK, and a worker's imports
are the time it takes to come back after a crash.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import NotFound, OrchError, SettingsError

if TYPE_CHECKING:
    from core.calls.facts import DialRules
    from core.calls.reach import HealthCheck
    from core.calls.watch import Watch
    from core.clock import Clock
    from core.domain.retries import RetryPolicy
    from core.engagement.driver import PlainDriver
    from core.judge.base import Judge
    from core.plans.library import PlanLibrary
    from core.recordings.vault import Vault
    from core.settings import Settings
    from core.speech.base import Recognizer, Synthesizer
    from core.storage.calls import CallView
    from core.storage.contacts import ContactStore
    from core.storage.control import ControlStore
    from core.storage.conversations import ConversationStore
    from core.storage.database import Database
    from core.telephony.base import Carrier
    from core.windows.booking import Booking
    from core.windows.scheduler import WindowScheduler

STREAM_KEY_LABEL = b"media-stream tokens"
INSTALLATION_LABEL = b"installation"
API_KEY_FILE = "api.key"


@dataclass(frozen=True, slots=True)
class WebhookAccount:
    """The carrier's account, the token it signs webhooks with, and the number we call from."""

    sid: str
    auth_token: str
    number: str


@dataclass(frozen=True, slots=True)
class MediaParts:
    """What the media server works with."""

    store: ConversationStore
    control: ControlStore
    plans: PlanLibrary
    recognizer: Recognizer
    synthesizer: Synthesizer
    judge: Judge
    vault: Vault
    stream_key: bytes
    installation: str
    settings: Settings
    data_dir: Path


def initialise(settings: Settings) -> list[str]:
    """Create folders and keys that are missing and bring the database up to date. Returns what was done, in words."""
    from core.recordings.vault import Keyring
    from core.storage.schema_version import is_known_current

    done = []
    for folder in (settings.paths.data, settings.paths.run, settings.paths.logs, settings.paths.keys):
        if not folder.is_dir():
            try:
                folder.mkdir(parents=True, mode=0o700)
            except OSError as error:
                raise SettingsError(f"cannot create {folder}: {error.strerror}; check ORCH_HOME") from error
            done.append(f"created {folder}")
    if not (settings.paths.keys / Keyring.FILE_NAME).exists():
        Keyring.create(settings.paths.keys)
        done.append("created an encryption key")
    if settings.server.api_key is None and not (settings.paths.keys / API_KEY_FILE).exists():
        _write_secret(settings.paths.keys / API_KEY_FILE, secrets.token_urlsafe(32))
        done.append("created an API key")
    if not is_known_current(settings.database_url):
        from core.storage.schema import migrate

        if migrate(settings.database_url):
            done.append("brought the database up to date")
    return done


def open_vault(settings: Settings) -> Vault:
    from core.recordings.vault import Keyring, Vault

    if not (settings.paths.keys / Keyring.FILE_NAME).exists():
        raise SettingsError(f"orch was never set up in {settings.paths.home}: run `orch init`, or correct ORCH_HOME")
    return Vault(Keyring.load(settings.paths.keys))


def open_database(settings: Settings, *, busy_seconds: float = 30.0) -> Database:
    """Raises SettingsError when there is no key yet."""
    from core.storage.database import Database

    return Database(settings.database_url, open_vault(settings), busy_seconds=busy_seconds)


def api_key(settings: Settings) -> str:
    """Raises SettingsError when there is none yet."""
    if settings.server.api_key is not None:
        return settings.server.api_key.get_secret_value()
    try:
        key = (settings.paths.keys / API_KEY_FILE).read_text().strip()
    except OSError as error:
        raise SettingsError(f"no API key in {settings.paths.keys}; run `orch init`") from error
    if not key:
        raise SettingsError(f"{settings.paths.keys / API_KEY_FILE} is empty; delete it and run `orch init`")
    return key


def installation(settings: Settings) -> str:
    """What tells this orch from another one that answers at the same address. Not a secret."""
    return open_vault(settings).derive(INSTALLATION_LABEL).hex()[:16]


def stream_key(settings: Settings) -> bytes:
    return open_vault(settings).derive(STREAM_KEY_LABEL)


def webhook_account(settings: Settings) -> WebhookAccount:
    """Whose webhooks are taken: Twilio's, or those of the simulator in its place."""
    if settings.simulated:
        from core.telephony.simulated import simulated_account

        simulated = simulated_account(settings.paths.keys)
        return WebhookAccount(simulated.account_sid, simulated.auth_token, simulated.from_number)
    twilio = settings.twilio
    assert twilio.account_sid
    assert twilio.auth_token
    assert twilio.from_number
    return WebhookAccount(twilio.account_sid, twilio.auth_token.get_secret_value(), twilio.from_number)


def plan_library(settings: Settings) -> PlanLibrary:
    from core.plans.library import PlanLibrary

    return PlanLibrary(settings.paths.plans_dir)


def booking(settings: Settings, contacts: ContactStore, plans: PlanLibrary) -> Booking:
    from core.windows.booking import Booking

    return Booking(
        contacts,
        plans,
        countries=settings.dialling.countries,
        permitted=dial_rules(settings).permitted,
        dial_time=dial_rules(settings).dial_time,
        simulated=settings.simulated,
    )


def window_scheduler(settings: Settings, database: Database) -> WindowScheduler:
    from core.windows.scheduler import WindowScheduler

    return WindowScheduler(
        database,
        plan_library(settings),
        default_plan=settings.conversations.default_plan,
        simulated=settings.simulated,
    )


def carrier(settings: Settings) -> Carrier:
    from core.telephony.twilio import TwilioCarrier

    if settings.simulated:
        from core.telephony.simulated import simulated_account

        account = simulated_account(settings.paths.keys)
        return TwilioCarrier(
            account.account_sid,
            account.auth_token,
            account.from_number,
            base_url=f"http://127.0.0.1:{settings.providers.simulator_port}",
        )
    twilio = settings.twilio
    assert twilio.account_sid
    assert twilio.auth_token
    assert twilio.from_number
    return TwilioCarrier(twilio.account_sid, twilio.auth_token.get_secret_value(), twilio.from_number)


def default_retry_policy(settings: Settings) -> RetryPolicy:
    from core.domain.retries import RetryPolicy

    return RetryPolicy(settings.retries.max_retry_count, settings.retries.waits())


def dial_rules(settings: Settings) -> DialRules:
    from core.calls.facts import DialRules

    dialling = settings.dialling
    return DialRules(
        carrier=settings.providers.carrier,
        carrier_is_real=not settings.simulated,
        mode="enhanced" if settings.conversations.use_enhanced_calls else "standard",
        dial_only=dialling.dial_only,
        countries=dialling.countries,
        permitted_from=dialling.permitted_from,
        permitted_until=dialling.permitted_until,
        per_day=dialling.per_day,
        per_week=dialling.per_week,
        min_gap=settings.min_gap,
        max_concurrent=dialling.max_concurrent,
        per_second=dialling.per_second,
        ring_seconds=dialling.ring_seconds,
        max_call_seconds=settings.conversations.max_call_seconds,
        public_url=settings.public_url,
    )


def public_addresses(settings: Settings) -> HealthCheck:
    """Where the carrier must reach us for a call to be held."""
    from core.calls.reach import HealthCheck

    media = [settings.public_media_url] if settings.conversations.use_enhanced_calls else []
    return HealthCheck([settings.public_url, *media], installation(settings))


@dataclass(frozen=True, slots=True)
class CallParts:
    """What the call-scheduler works with."""

    driver: PlainDriver
    watch: Watch


def call_parts(settings: Settings, database: Database, clock: Clock | None = None, line: Carrier | None = None) -> CallParts:
    """`line` replaces the carrier that the settings name."""
    from core.calls.dialler import Dialler
    from core.calls.settlement import Settlement
    from core.calls.watch import Watch
    from core.clock import SystemClock
    from core.engagement.driver import PlainDriver
    from core.engagement.nodes import Engagement
    from core.storage.runs import Owner, RunLedger

    clock = clock or SystemClock()
    line = line or carrier(settings)
    plans = plan_library(settings)
    settlement = Settlement(database, plans)
    owner = Owner.this_process()
    rules = dial_rules(settings)
    public = public_addresses(settings)
    dialler = Dialler(database, line, rules, settlement, owner, clock, public)
    watch = Watch(database, line, settlement, clock)
    work = Engagement(
        database=database,
        dialler=dialler,
        watch=watch,
        settlement=settlement,
        plans=plans,
        clock=clock,
        default_policy=default_retry_policy(settings),
        permitted=rules.permitted,
        dial_time=rules.dial_time,
        public_url=settings.public_url,
    )
    driver = PlainDriver(RunLedger(database, owner), work, clock, threads=settings.dialling.threads)
    return CallParts(driver, watch)


def judge(settings: Settings) -> Judge:
    from core.judge.rules import RulesJudge
    from core.settings import JudgeName

    if settings.providers.judge is not JudgeName.GEMINI:
        return RulesJudge()
    from core.judge.fallback import FallbackJudge
    from core.judge.gemini import GeminiJudge

    vendors = settings.vendors
    assert vendors.gemini_api_key
    gemini = GeminiJudge(
        vendors.gemini_api_key.get_secret_value(),
        model=vendors.gemini_model,
        timeout_ms=vendors.gemini_timeout_ms,
        max_output_tokens=vendors.gemini_output_tokens,
        thinking_budget=None if vendors.gemini_may_think else 0,
        base_url=vendors.gemini_url,
    )
    return FallbackJudge(gemini, RulesJudge())


def speech(settings: Settings) -> tuple[Recognizer, Synthesizer]:
    """Who hears and who speaks. A set-up that cannot work is told by their `warm_up`, so that the server comes up all the same."""
    from core.settings import SpeechName

    if settings.providers.speech is SpeechName.GOOGLE:
        return _google_speech(settings)
    from core.speech.local import EspeakSynthesizer, SphinxRecognizer

    return SphinxRecognizer(processes=settings.providers.decoders), EspeakSynthesizer()


def _google_speech(settings: Settings) -> tuple[Recognizer, Synthesizer]:
    from core.errors import ProviderError
    from core.speech.google.credentials import check_credentials
    from core.speech.unavailable import UnavailableRecognizer, UnavailableSynthesizer

    vendors = settings.vendors
    problem = check_credentials(vendors.google_credentials) if vendors.google_server is None else None
    if problem is not None:
        return UnavailableRecognizer(problem, "google"), UnavailableSynthesizer(problem, "google")
    from core.speech.google.access import Access, GoogleCloud, PlainServer
    from core.speech.google.recognizer import GoogleRecognizer
    from core.speech.google.synthesizer import GoogleSynthesizer

    ears: Access
    voice: Access
    try:
        if vendors.google_server is not None:
            ears = voice = PlainServer(vendors.google_server)
        else:
            assert vendors.google_credentials is not None
            # A recognizer outside of "global" answers at its region's server only.
            place = vendors.google_recognizer.split("/")[3] if vendors.google_recognizer else "global"
            ears = GoogleCloud(vendors.google_credentials, host=None if place == "global" else f"{place}-speech.googleapis.com")
            voice = GoogleCloud(vendors.google_credentials)
        recognizer = GoogleRecognizer(
            ears, language=vendors.google_language, model=vendors.google_speech_model, recognizer=vendors.google_recognizer
        )
        return recognizer, GoogleSynthesizer(voice, vendors.google_voice)
    except ProviderError as error:
        return UnavailableRecognizer(str(error), "google"), UnavailableSynthesizer(str(error), "google")


def media_parts(settings: Settings) -> MediaParts:
    """Builds the speech engines, too: the first call must not wait for them."""
    from core.storage.control import ControlStore
    from core.storage.conversations import ConversationStore
    from core.storage.database import Database

    vault = open_vault(settings)
    database = Database(settings.database_url, vault)
    recognizer, synthesizer = speech(settings)
    return MediaParts(
        store=ConversationStore(database),
        control=ControlStore(database),
        plans=plan_library(settings),
        recognizer=recognizer,
        synthesizer=synthesizer,
        judge=judge(settings),
        vault=vault,
        stream_key=vault.derive(STREAM_KEY_LABEL),
        installation=installation(settings),
        settings=settings,
        data_dir=settings.paths.data,
    )


def export_recording(settings: Settings, conversations: ConversationStore, call: CallView, target: Path, *, overwrite: bool) -> float:
    """Every recording of `call`, its attempts and their streams in order, as one WAV file. Returns its seconds.

    Raises NotFound when the call has no recording, and what `core.recordings.wav.export_wav` raises.
    """
    from core.conversation.recording import recording_context
    from core.recordings.wav import Part, export_wav

    parts = [
        Part(settings.paths.data / part.path, recording_context(attempt.id, part.epoch), finished=part.sealed)
        for attempt in call.attempts
        for part in conversations.recording_parts(attempt.id)
    ]
    if not parts:
        raise NotFound(f"call {call.id} has no recording")
    return export_wav(parts, open_vault(settings), target, overwrite=overwrite)


def _write_secret(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise OrchError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
