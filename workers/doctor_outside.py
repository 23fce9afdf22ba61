"""What `orch doctor` looks at beyond this machine: the carrier's account and clock, and our public URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime

from core.settings import Settings
from workers.findings import Finding, State
from workers.process import LOCK_NAME, FileLock

TIMEOUT_SECONDS = 5.0


def check_carrier(settings: Settings, now: datetime) -> Iterator[Finding]:
    if settings.simulated:
        from core.telephony.simulated import token_file

        made = token_file(settings.paths.keys).exists()
        yield Finding(
            "carrier", State.OK, "the phone simulator: no real phone is rung" + ("" if made else "; its token is made at the first start")
        )
        return
    from core.errors import ProviderError
    from core.telephony.account import check_account

    twilio = settings.twilio
    assert twilio.account_sid
    assert twilio.auth_token
    try:
        account = check_account(twilio.account_sid, twilio.auth_token.get_secret_value(), timeout_seconds=TIMEOUT_SECONDS)
    except ProviderError as error:
        hint = "check this machine's way out to api.twilio.com" if error.retryable else "copy both from the Twilio console into .env"
        yield Finding("carrier", State.FAIL, str(error), hint)
        return
    if account.status != "active":
        yield Finding("carrier", State.FAIL, f"the Twilio account is {account.status}", "see the Twilio console")
    elif account.kind == "Trial":
        yield Finding(
            "carrier",
            State.WARN,
            "a Twilio trial account: it calls only verified numbers, and plays a notice",
            "upgrade it in the Twilio console",
        )
    else:
        yield Finding("carrier", State.OK, f"Twilio account {twilio.account_sid[:6]}... is active")
    if account.carrier_now is not None:
        yield from _skew((account.carrier_now - now).total_seconds(), "asked just now")


def check_clock(settings: Settings, now: datetime) -> Iterator[Finding]:
    from core.bootstrap import open_database
    from core.storage.control import ControlStore

    if not settings.simulated:
        # The carrier was asked a moment ago.
        return
    with closing(open_database(settings, busy_seconds=2.0)) as database:
        seconds = ControlStore(database).skew()
    if seconds is None:
        yield Finding("clock", State.OK, f"{now:%Y-%m-%d %H:%M:%S} UTC; the carrier's clock has not been seen yet")
    else:
        yield from _skew(seconds, "at the last dial")


def _skew(seconds: float, when: str) -> Iterator[Finding]:
    from core.domain.permitted import MAX_CLOCK_SKEW

    limit = MAX_CLOCK_SKEW.total_seconds()
    state = State.FAIL if abs(seconds) > limit else State.WARN if abs(seconds) > limit / 6 else State.OK
    hint = "" if state is State.OK else f"set this machine's clock (NTP); over {limit:.0f} s nothing is dialled"
    yield Finding("clock", state, f"the carrier's differs by {abs(seconds):.1f} s, {when}", hint)


def check_public_url(settings: Settings, _now: datetime) -> Iterator[Finding]:
    from core.bootstrap import public_addresses

    if settings.simulated:
        return

    if not settings.public_url.startswith("https://"):
        yield Finding(
            "public URL",
            State.WARN,
            f"{settings.public_url} is not https: what is said passes in the clear",
            "put a TLS proxy in front, and correct ORCH_PUBLIC_URL",
        )
    if FileLock(settings.paths.run / LOCK_NAME).holder() is None:
        yield Finding(
            "public URL",
            State.WARN,
            "not tried: orch is not running, so nothing could answer",
            "run `orch doctor` again after `orch start-all`",
        )
        return
    problem = public_addresses(settings).problem()
    hint = "the carrier must reach ORCH_PORT by it; look at the proxy or tunnel, and at ORCH_PUBLIC_URL"
    yield Finding(
        "public URL", State.FAIL if problem else State.OK, problem or f"{settings.public_url} reaches this orch", hint if problem else ""
    )
