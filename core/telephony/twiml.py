"""The TwiML orch sends: small documents, each ending in a verb that says what becomes of the call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twilio.twiml.voice_response import Connect, Gather, VoiceResponse

MAX_HINTS = 500  # phrases in <Gather hints>, as Twilio documents it


def connect_stream(url: str, parameters: Mapping[str, str], redirect_url: str) -> str:
    """Hand the call's audio to the websocket at `url` (no query string: Twilio does not send one).

    Twilio asks `redirect_url` what comes next once our side closes the socket.
    """
    connect = Connect()
    stream = connect.stream(url=url)
    for name, value in parameters.items():
        stream.parameter(name=name, value=value)
    response = VoiceResponse()
    response.append(connect)
    response.redirect(redirect_url, method="POST")
    return str(response)


def say_and_gather(
    text: str,
    action_url: str,
    *,
    hints: Sequence[str] = (),
    timeout_seconds: int = 5,
    language: str = "en-US",
    speech_timeout: str = "auto",
) -> str:
    """Say `text` and listen, while it is said too, for speech or one key.

    Silence for `timeout_seconds` is posted to `action_url` as well, with nothing in it.
    """
    gather = Gather(
        input="speech dtmf",
        action=action_url,
        method="POST",
        timeout=timeout_seconds,
        num_digits=1,
        language=language,
        speech_timeout=speech_timeout,
        # Without it silence runs on to the next verb, and nobody is told.
        action_on_empty_result=True,
    )
    # A comma separates hints, so one inside a phrase would split it.
    phrases = ",".join(hint.replace(",", " ") for hint in hints[:MAX_HINTS])
    if phrases:
        gather.attrs["hints"] = phrases
    gather.say(text, language=language)
    response = VoiceResponse()
    response.append(gather)
    # Should the carrier ignore actionOnEmptyResult, the turn is still ours.
    response.redirect(action_url, method="POST")
    return str(response)


def say_and_hangup(text: str, *, language: str = "en-US") -> str:
    response = VoiceResponse()
    response.say(text, language=language)
    response.hangup()
    return str(response)


def hangup() -> str:
    response = VoiceResponse()
    response.hangup()
    return str(response)


def reject_busy() -> str:
    """Turn away somebody who rings us, with a busy tone and at no cost to them. Only as the first verb of a call."""
    response = VoiceResponse()
    response.reject(reason="busy")
    return str(response)


def pause_and_redirect(seconds: int, redirect_url: str) -> str:
    """Keep the line open in silence for whole `seconds`, then ask `redirect_url` again."""
    response = VoiceResponse()
    response.pause(length=seconds)
    response.redirect(redirect_url, method="POST")
    return str(response)
