"""The worker `phone-simulator`: Twilio's side of the wire, on this machine."""

from __future__ import annotations

import sys

from core.errors import InvalidInput, SettingsError
from core.speech.base import Synthesizer
from core.telephony.simulated import simulated_account
from workers.phone_simulator.behaviours import SHIPPED, load_callees
from workers.phone_simulator.network import InboundSetup, NetworkOptions
from workers.phone_simulator.simulator import LEDGER_NAME, open_simulator
from workers.phone_simulator.weather import load_weather
from workers.runtime import Runtime, run_worker

NAME = "phone-simulator"


def _voice(voice: str, words_per_minute: int) -> Synthesizer:
    # Imported when somebody speaks for the first time: the engine is an optional part of the installation.
    from core.speech.local import EspeakSynthesizer

    return EspeakSynthesizer(voice=voice, words_per_minute=words_per_minute)


async def start(runtime: Runtime) -> None:
    settings = runtime.settings
    account = simulated_account(settings.paths.keys)
    try:
        callees = load_callees(settings.providers.simulator_callees or SHIPPED)
        weather = load_weather(settings.providers.simulator_weather, settings.paths.home)
    except InvalidInput as error:
        # A file that a setting names is part of the setting: starting again would not mend it.
        raise SettingsError(str(error)) from error
    simulator = await open_simulator(
        NetworkOptions(
            account_sid=account.account_sid,
            auth_token=account.auth_token,
            numbers=frozenset({account.from_number}),
            seed=settings.providers.simulator_seed,
            weather=weather,
            inbound=InboundSetup(
                voice_url=f"{settings.public_url}/webhooks/twilio/voice",
                status_url=f"{settings.public_url}/webhooks/twilio/status",
            ),
        ),
        callees,
        settings.paths.data / LEDGER_NAME,
        _voice,
    )
    await simulator.start(runtime.listen_socket("127.0.0.1", settings.providers.simulator_port))
    network = simulator.network
    runtime.in_flight = lambda: network.live_calls + network.open_callbacks
    runtime.status_extra = lambda: {"work": "1 call" if network.live_calls == 1 else f"{network.live_calls} calls"}
    runtime.on_stop(simulator.close)


if __name__ == "__main__":
    sys.exit(run_worker(NAME, start, listen=True))
