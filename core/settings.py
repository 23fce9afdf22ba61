"""All settings: one frozen tree, checked. `core/environment.py` says where they are read from, and which place wins.

Names the field already uses are kept (`TWILIO_*`, `GOOGLE_*`, `GEMINI_*`, the retry and interval names); ours start with `ORCH_`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo

from core import environment
from core.environment import CHECKOUT, Value
from core.errors import SettingsError

__all__ = ["CHECKOUT", "GROUPS", "Settings", "described", "load_settings", "setting_names"]


class CarrierName(StrEnum):
    SIMULATOR = "simulator"
    TWILIO = "twilio"
    VAPI = "vapi"


class SpeechName(StrEnum):
    LOCAL = "local"
    GOOGLE = "google"


class JudgeName(StrEnum):
    RULES = "rules"
    GEMINI = "gemini"


RETRY_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}


def _comma_list(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _without_trailing_slash(value: str) -> str:
    return value.rstrip("/")


CommaList = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]
BaseUrl = Annotated[str, AfterValidator(_without_trailing_slash)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Paths(_Group):
    """Where orch keeps things."""

    home: Path = Field(CHECKOUT, validation_alias="ORCH_HOME", description="Holds data/, run/, logs/ and keys/.")
    keys_dir: Path | None = Field(
        None,
        validation_alias="ORCH_KEYS_DIR",
        description="Encryption and API keys; back it up apart from data/. Default: keys/ in ORCH_HOME.",
    )
    plans_dir: Path = Field(CHECKOUT / "plans", validation_alias="ORCH_PLANS_DIR", description="Conversation plans (YAML).")

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def keys(self) -> Path:
        return self.keys_dir or self.home / "keys"


class Server(_Group):
    """Addresses, and who may use them."""

    host: str = Field("127.0.0.1", validation_alias="ORCH_HOST", description="Address the servers listen on.")
    port: int = Field(8000, validation_alias="ORCH_PORT", ge=1, le=65535, description="Webhooks, JSON API, health.")
    media_port: int = Field(8001, validation_alias="ORCH_MEDIA_PORT", ge=1, le=65535, description="Media-stream websockets.")
    public_url: BaseUrl | None = Field(
        None, validation_alias="ORCH_PUBLIC_URL", description="https:// base the carrier reaches ORCH_PORT by. Needed with a real carrier."
    )
    public_media_url: BaseUrl | None = Field(
        None,
        validation_alias="ORCH_PUBLIC_MEDIA_URL",
        description="wss:// base the carrier reaches ORCH_MEDIA_PORT by. Needed with a real carrier.",
    )
    api_key: SecretStr | None = Field(
        None, validation_alias="ORCH_API_KEY", description="Key of the JSON API. Default: the one `orch init` wrote into keys/."
    )

    @field_validator("public_url")
    @classmethod
    def _https(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https?://[^/\s]+", value):
            raise ValueError("a URL starting with https:// (or http:// on this machine)")
        return value

    @field_validator("public_media_url")
    @classmethod
    def _wss(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"wss?://[^/\s]+", value):
            raise ValueError("a URL starting with wss:// (or ws:// on this machine)")
        return value


class Providers(_Group):
    """Which implementation stands behind each seam."""

    carrier: CarrierName = Field(CarrierName.SIMULATOR, validation_alias="ORCH_CARRIER", description="Who places the calls.")
    speech: SpeechName = Field(SpeechName.LOCAL, validation_alias="ORCH_SPEECH", description="Who hears and speaks.")
    judge: JudgeName = Field(JudgeName.RULES, validation_alias="ORCH_JUDGE", description="Who decides that a checkpoint is reached.")
    simulator_port: int = Field(
        8002, validation_alias="ORCH_SIMULATOR_PORT", ge=1, le=65535, description="The phone simulator's REST port."
    )
    simulator_seed: int = Field(1, validation_alias="ORCH_SIMULATOR_SEED", description="Seed of everything the simulator leaves to chance.")
    simulator_weather: str = Field(
        "realistic",
        validation_alias="ORCH_SIMULATOR_WEATHER",
        description="How the simulated network behaves: calm, realistic, storm, or a YAML file (docs/simulator.md).",
    )
    simulator_callees: Path | None = Field(
        None,
        validation_alias="ORCH_SIMULATOR_CALLEES",
        description="How simulated phones behave (YAML). Default: the file shipped with the simulator.",
    )
    decoders: int = Field(
        2, validation_alias="ORCH_SPEECH_DECODERS", ge=1, le=64, description="Local speech decoders kept ready, one process each."
    )


class Conversations(_Group):
    """The live call."""

    use_enhanced_calls: bool = Field(
        True,
        validation_alias="USE_ENHANCED_CALLS",
        description="true: live audio over a media stream; false: the carrier's own <Gather> and <Say>.",
    )
    default_plan: str = Field("daily-reflection", validation_alias="ORCH_DEFAULT_PLAN", description="Plan of a call that names none.")
    max_call_seconds: int = Field(
        900, validation_alias="ORCH_MAX_CALL_SECONDS", ge=30, le=14400, description="A call is ended after this long."
    )
    caller_name: str = Field("orch", validation_alias="ORCH_CALLER_NAME", description="Who the greeting says is calling.")


class Retries(_Group):
    """When nobody answers. A plan may set its own."""

    max_retry_count: int = Field(
        3, validation_alias="MAX_RETRY_COUNT", ge=0, le=20, description="Retries after the first dial: 3 means four dials at most."
    )
    intervals: CommaList = Field(
        ("0.5", "24"), validation_alias="RETRY_INTERVALS", description="Wait before each retry, comma-separated; the last one repeats."
    )
    units: str = Field("hours", validation_alias="RETRY_UNITS", description="Unit of RETRY_INTERVALS: " + ", ".join(RETRY_UNITS) + ".")

    @field_validator("intervals")
    @classmethod
    def _positive(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wanted = "positive numbers separated by commas, such as 0.5,24"
        if not value:
            raise ValueError(wanted)
        for part in value:
            if not re.fullmatch(r"\d+(\.\d+)?", part) or float(part) <= 0:
                raise ValueError(wanted)
        return value

    @field_validator("units")
    @classmethod
    def _known_unit(cls, value: str) -> str:
        if value not in RETRY_UNITS:
            raise ValueError("one of " + ", ".join(RETRY_UNITS))
        return value

    def waits(self) -> tuple[timedelta, ...]:
        return tuple(timedelta(seconds=float(part) * RETRY_UNITS[self.units]) for part in self.intervals)


class JobPeriods(_Group):
    """How often each job looks, in seconds. A safety net: work that becomes due wakes its worker at once."""

    window_scan: float = Field(300, validation_alias="ORCH_WINDOW_SCAN_SECONDS", ge=1, le=3600, description="window_scan")
    call_dispatch: float = Field(15, validation_alias="ORCH_CALL_DISPATCH_SECONDS", ge=1, le=3600, description="call_dispatch")
    call_orchestrator: float = Field(60, validation_alias="ORCHESTRATOR_INTERVAL_SECONDS", ge=1, le=3600, description="call_orchestrator")
    call_reconciliation: float = Field(
        300, validation_alias="RECONCILIATION_INTERVAL_SECONDS", ge=1, le=3600, description="call_reconciliation"
    )


class Dialling(_Group):
    """May we dial? Every rule is checked for every dial; no flag overrides one."""

    dial_only: CommaList = Field(
        (),
        validation_alias="ORCH_DIAL_ONLY",
        description="The only numbers that may be dialled, comma-separated E.164. Mandatory with a real carrier.",
    )
    countries: CommaList = Field(("US",), validation_alias="ORCH_COUNTRIES", description="Countries that may be called, ISO 3166 codes.")
    permitted_from: time = Field(
        time(8, 0), validation_alias="ORCH_PERMITTED_FROM", description="Nobody is dialled before, local time of the contact."
    )
    permitted_until: time = Field(
        time(21, 0), validation_alias="ORCH_PERMITTED_UNTIL", description="Nobody is dialled from then on, local time of the contact."
    )
    per_day: int = Field(6, validation_alias="ORCH_ATTEMPTS_PER_DAY", ge=1, le=100, description="Attempts per phone number in 24 hours.")
    per_week: int = Field(20, validation_alias="ORCH_ATTEMPTS_PER_WEEK", ge=1, le=500, description="Attempts per phone number in 7 days.")
    min_gap_seconds: int | None = Field(
        None,
        validation_alias="ORCH_MIN_GAP_SECONDS",
        ge=0,
        le=86400,
        description="Least time between attempts to one number. Default: 900; 2 with the simulator.",
    )
    max_concurrent: int = Field(10, validation_alias="ORCH_MAX_CONCURRENT_CALLS", ge=1, le=1000, description="Calls open at once.")
    per_second: float = Field(1.0, validation_alias="ORCH_CALLS_PER_SECOND", gt=0, le=100, description="Dials a second.")
    ring_seconds: int = Field(
        30, validation_alias="ORCH_RING_SECONDS", ge=15, le=120, description="How long the phone rings. 15 at least, as the TSR asks."
    )
    threads: int = Field(4, validation_alias="ORCH_DIAL_THREADS", ge=1, le=32, description="Engagements stepped at once.")


class Twilio(_Group):
    """The Twilio account. Not used with the simulator."""

    account_sid: str | None = Field(None, validation_alias="TWILIO_ACCOUNT_SID", description="AC...")
    auth_token: SecretStr | None = Field(None, validation_alias="TWILIO_AUTH_TOKEN", description="Signs the webhooks, too.")
    from_number: str | None = Field(None, validation_alias="TWILIO_FROM_NUMBER", description="The number that calls, E.164.")


class Vendors(_Group):
    """Accounts of the other vendors."""

    google_credentials: Path | None = Field(
        None, validation_alias="GOOGLE_APPLICATION_CREDENTIALS", description="Service-account file for Google Cloud speech."
    )
    google_voice: str = Field(
        "en-US-Chirp3-HD-Aoede",
        validation_alias="ORCH_GOOGLE_VOICE",
        pattern=r"^[a-z]{2,3}-[A-Z]{2}-[A-Za-z0-9-]+$",
        description="Google's voice; Chirp 3 HD voices are streamed.",
    )
    google_language: str = Field(
        "en-US",
        validation_alias="ORCH_GOOGLE_LANGUAGE",
        pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$",
        description="What language Google expects to hear.",
    )
    google_speech_model: str = Field(
        "telephony",
        validation_alias="ORCH_GOOGLE_SPEECH_MODEL",
        min_length=1,
        description="Google's recognition model: telephony, phone_call, latest_short, ... chirp_2 needs ORCH_GOOGLE_RECOGNIZER.",
    )
    google_recognizer: str | None = Field(
        None,
        validation_alias="ORCH_GOOGLE_RECOGNIZER",
        pattern=r"^projects/[^/]+/locations/[^/]+/recognizers/[^/]+$",
        description="projects/P/locations/L/recognizers/R: use Speech-to-Text v2.",
    )
    google_server: str | None = Field(
        None,
        validation_alias="ORCH_GOOGLE_SERVER",
        pattern=r"^[^/:]+:[0-9]+$",
        description="host:port of a server that speaks Google's speech methods in clear text, in place of Google: for tests.",
    )
    gemini_api_key: SecretStr | None = Field(None, validation_alias="GEMINI_API_KEY", description="Key of the Gemini judge.")
    gemini_model: str = Field("gemini-2.5-flash", validation_alias="ORCH_GEMINI_MODEL", min_length=1, description="The model that judges.")
    gemini_timeout_ms: int = Field(
        1500, validation_alias="ORCH_GEMINI_TIMEOUT_MS", ge=200, le=10000, description="After this long the rules judge the turn."
    )
    gemini_output_tokens: int = Field(
        256, validation_alias="ORCH_GEMINI_OUTPUT_TOKENS", ge=64, le=2048, description="Most tokens of a verdict."
    )
    gemini_may_think: bool = Field(
        False, validation_alias="ORCH_GEMINI_MAY_THINK", description="For models that refuse a thinking budget of 0."
    )
    gemini_url: BaseUrl = Field(
        "https://generativelanguage.googleapis.com", validation_alias="ORCH_GEMINI_URL", description="Where Gemini is."
    )


class Engine(_Group):
    """Storage and logs."""

    database_url: str | None = Field(
        None,
        validation_alias="ORCH_DATABASE_URL",
        description="SQLAlchemy URL, sqlite:/// or postgresql+psycopg://. Default: data/orch.db in ORCH_HOME.",
    )
    use_langgraph: bool = Field(
        False,
        validation_alias="USE_LANGGRAPH",
        description="Which driver carries engagements. Only false (the plain driver) is available in this version.",
    )
    log_level: str = Field("info", validation_alias="ORCH_LOG_LEVEL", description="debug, info, warning or error.")
    log_max_mb: int = Field(20, validation_alias="ORCH_LOG_MAX_MB", ge=1, le=1024, description="A log file is rotated at this size.")

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            raise ValueError("one of debug, info, warning, error")
        return value.lower()

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if value.startswith("postgresql://"):
            value = "postgresql+psycopg://" + value.removeprefix("postgresql://")
        if not value.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("a URL starting with sqlite:/// or postgresql+psycopg://")
        return value

    @field_validator("use_langgraph")
    @classmethod
    def _plain_driver(cls, value: bool) -> bool:
        if value:
            raise ValueError("false in this version: the LangGraph driver is not part of it yet")
        return value


class Settings:
    """The whole tree. Made by `load_settings`."""

    __slots__ = ("conversations", "dialling", "engine", "jobs", "paths", "providers", "retries", "server", "twilio", "vendors")

    paths: Paths
    server: Server
    providers: Providers
    conversations: Conversations
    retries: Retries
    jobs: JobPeriods
    dialling: Dialling
    twilio: Twilio
    vendors: Vendors
    engine: Engine

    def __init__(self, **groups: _Group) -> None:
        for name in self.__slots__:
            object.__setattr__(self, name, groups[name])

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("settings are frozen")

    @property
    def simulated(self) -> bool:
        return self.providers.carrier is CarrierName.SIMULATOR

    @property
    def database_url(self) -> str:
        url = self.engine.database_url or f"sqlite:///{self.paths.data / 'orch.db'}"
        if url.startswith("sqlite:///"):
            return f"sqlite:///{self.paths.home / url.removeprefix('sqlite:///')}"
        return url

    @property
    def min_gap(self) -> timedelta:
        seconds = self.dialling.min_gap_seconds
        if seconds is None:
            # Simulated phones ring nobody, and a demo's retries take seconds.
            seconds = 2 if self.simulated else 900
        return timedelta(seconds=seconds)

    @property
    def public_url(self) -> str:
        return self.server.public_url or f"http://{_reachable(self.server.host)}:{self.server.port}"

    @property
    def media_health_url(self) -> str:
        return f"http://{_reachable(self.server.host)}:{self.server.media_port}/health"

    @property
    def public_media_url(self) -> str:
        return self.server.public_media_url or f"ws://{_reachable(self.server.host)}:{self.server.media_port}"

    def check(self) -> Self:
        """The rules that span groups. Raises SettingsError."""
        if self.providers.carrier is CarrierName.VAPI:
            raise SettingsError("ORCH_CARRIER=vapi is not part of this version; allowed now: simulator, twilio")
        if self.providers.judge is JudgeName.GEMINI and self.vendors.gemini_api_key is None:
            raise SettingsError("ORCH_JUDGE=gemini also needs GEMINI_API_KEY; set it in .env")
        if self.dialling.permitted_from >= self.dialling.permitted_until:
            raise SettingsError(
                f"ORCH_PERMITTED_FROM={self.dialling.permitted_from:%H:%M} must be earlier than "
                f"ORCH_PERMITTED_UNTIL={self.dialling.permitted_until:%H:%M}"
            )
        ports = {
            "ORCH_PORT": self.server.port,
            "ORCH_MEDIA_PORT": self.server.media_port,
            "ORCH_SIMULATOR_PORT": self.providers.simulator_port,
        }
        for name, port in ports.items():
            for other, taken in ports.items():
                if name < other and port == taken:
                    raise SettingsError(f"{name}={port} and {other}={taken} must differ")
        if self.providers.carrier is CarrierName.TWILIO:
            needed = {
                "TWILIO_ACCOUNT_SID": self.twilio.account_sid,
                "TWILIO_AUTH_TOKEN": self.twilio.auth_token,
                "TWILIO_FROM_NUMBER": self.twilio.from_number,
                "ORCH_PUBLIC_URL": self.server.public_url,
                "ORCH_PUBLIC_MEDIA_URL": self.server.public_media_url,
                "ORCH_DIAL_ONLY": self.dialling.dial_only,
            }
            missing = [name for name, value in needed.items() if not value]
            if missing:
                raise SettingsError(
                    f"ORCH_CARRIER=twilio also needs {', '.join(missing)}; set {'it' if len(missing) == 1 else 'them'} in .env"
                )
        return self


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in {"0.0.0.0", "::"} else host


GROUPS: dict[str, type[_Group]] = {
    "paths": Paths,
    "server": Server,
    "providers": Providers,
    "conversations": Conversations,
    "retries": Retries,
    "jobs": JobPeriods,
    "dialling": Dialling,
    "twilio": Twilio,
    "vendors": Vendors,
    "engine": Engine,
}


def load_settings() -> Settings:
    """Read and check every setting. Raises SettingsError with one line: the setting, its value, what is allowed."""
    given = environment.read()
    values = {name: value.text for name, value in given.items()}
    groups: dict[str, _Group] = {}
    for name, group in GROUPS.items():
        try:
            groups[name] = group.model_validate(values)
        except ValidationError as error:
            raise SettingsError(_explain(group, error, given)) from None
    home = environment.settle_home()
    groups["paths"] = _anchored(groups["paths"], home, "keys_dir", "plans_dir").model_copy(update={"home": home})
    groups["providers"] = _anchored(groups["providers"], home, "simulator_callees")
    groups["vendors"] = _anchored(groups["vendors"], home, "google_credentials")
    return Settings(**groups).check()


def setting_names() -> list[str]:
    """Every setting's variable, group by group."""
    return [str(field.validation_alias) for group in GROUPS.values() for field in group.model_fields.values()]


@dataclass(frozen=True, slots=True)
class Described:
    """A setting as it is given, fit to be shown: `text` is `***` for a secret, "" for what has neither value nor default."""

    name: str
    text: str
    default: str
    given: Value | None
    purpose: str
    description: str


def described(given: Mapping[str, Value]) -> Iterator[Described]:
    """Every setting with what `given` says of it, right or wrong, in the order of the documentation."""
    for group in GROUPS.values():
        purpose = (group.__doc__ or "").strip().splitlines()[0]
        for field in group.model_fields.values():
            name, default = str(field.validation_alias), default_text(field)
            value = given.get(name)
            text = default if value is None else "***" if _is_secret(field) else without_password(value.text)
            yield Described(name, text, default, value, purpose, field.description or "")


def default_text(field: FieldInfo) -> str:
    """A setting's default as it would be written into a file; "" if it has none."""
    value: Any = field.default
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, time):
        return f"{value:%H:%M}"
    if isinstance(value, Path):
        return "." if value == CHECKOUT else str(value.relative_to(CHECKOUT))
    return str(value)


def without_password(url: str) -> str:
    """A database's URL as it may be shown. Any other text is returned as it is."""
    # Up to the last `@`: a password that was not percent-encoded may hold some, too.
    shown = re.sub(r"(?<=://)\S*@", "***@", url)
    return re.sub(r"([?&]password=)[^&]*", r"\1***", shown)


def _is_secret(field: FieldInfo) -> bool:
    return "SecretStr" in str(field.annotation)


def _anchored(group: _Group, home: Path, *names: str) -> _Group:
    """Relative paths start at ORCH_HOME, whatever folder a command was called in."""
    given = {name: getattr(group, name) for name in names}
    return group.model_copy(update={name: (home / path.expanduser()).resolve() for name, path in given.items() if path is not None})


def _explain(group: type[_Group], error: ValidationError, given: Mapping[str, Value]) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    field = next((f for f in group.model_fields.values() if f.validation_alias == name), None)
    text = "***" if field is not None and _is_secret(field) else without_password(_as_text(first.get("input")))
    wanted = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    where = f" (it stands in {given[name].origin})" if name in given and given[name].file is not None else ""
    return f"{name}={text} is not allowed; it must be {wanted}{where}"


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
