"""orch phone list | show | call: looks into the simulated phone network, and rings orch from one of its phones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from core.settings import Settings

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# Rings when nobody was ever rung; see the shipped callees.
_SOMEBODY = "+12025550110"
_SECONDS = 10.0

app = typer.Typer(no_args_is_help=True, help="Simulated phones: who they are, what happened on them, and calls from them.")


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="phone")


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many calls.")] = 20,
    json: JsonFlag = False,
) -> None:
    """List the simulated phones, and the last calls of the network, the newest first.

    Examples: `orch phone list`, `orch phone list -n 100 --json`.
    """
    from cli.render import local_time, print_json, print_table, say

    with _Network() as network:
        phones, calls = network.get("phones"), network.get(f"calls?limit={limit}")["calls"]
    if json:
        print_json({**phones, "calls": calls})
        return
    weather = phones["weather_name"] or ", ".join(f"{name} {value}" for name, value in phones["weather"].items())
    say(f"our number {', '.join(phones['our_numbers'])}; seed {phones['seed']}; weather: {weather}\n")
    rows = [(" ".join(each["numbers"]), each) for each in phones["phones"]] + [("everybody else", phones["otherwise"])]
    print_table(("PHONES", "BEHAVIOUR", "CHOICE", "WEATHER"), [_phone_row(numbers, each) for numbers, each in rows])
    say("")
    if not calls:
        say("Nobody has rung yet. Ring somebody (orch call now), or let somebody ring you (orch phone call).")
        return
    print_table(
        ("CALL", "WHEN", "FROM", "TO", "STATUS", "BEHAVIOUR", "SECONDS"),
        [
            (call["sid"][:10], local_time(call["created_at"]), call["from"], call["to"], call["status"], call["behaviour"], call["seconds"])
            for call in calls
        ],
        {"failed": "red", "in-progress": "green", "ringing": "cyan", "queued": "cyan"},
    )


@app.command()
def show(call: Annotated[str, typer.Argument(help="The call's sid, or its beginning.")], json: JsonFlag = False) -> None:
    """Show all that happened in one simulated call: what was fetched and told, said, heard and pressed.

    Examples: `orch phone show CA3f2a91c0`, `orch phone show CA3f2a91c0 --json`.
    """
    from cli.render import print_json, say
    from core.errors import InvalidInput

    if not call.isalnum():
        raise InvalidInput(f"{call!r} is not the sid of a call; see `orch phone list`")
    with _Network() as network:
        found = network.get(f"calls/{call}")
    if json:
        print_json(found)
        return
    ended = f", {found['seconds']} s" if found["seconds"] is not None else ""
    say(f"{found['sid']}  {found['from']} -> {found['to']}  {found['direction']}  {found['status']}{ended}  ({found['behaviour']})")
    for leg in found["legs"]:
        say(f"  dialled {leg['sid']} {leg['to']}: {leg['status']}")
    for recording in found["recordings"]:
        say(f"  recording {recording['sid']} {recording['source']}: {recording['status']}, {recording['seconds']} s")
    for event in found["events"]:
        lines = _told(event)
        say(f"{_clock(event['at'])}  {event['kind']:9} {lines[0]}")
        for line in lines[1:]:
            say(f"{'':26}{line}")


@app.command("call")
def call_(
    from_: Annotated[str | None, typer.Option("--from", metavar="NUMBER", help="The phone that rings. Default: the one rung last.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="NUMBER", help="Our number.")] = None,
    behaviour: Annotated[
        str | None, typer.Option("--behaviour", metavar="NAME", help="What whoever holds it does; see `orch phone list --json`.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the call is over.")] = False,
    json: JsonFlag = False,
) -> None:
    """Ring orch from a simulated phone.

    Examples: `orch phone call`, `orch phone call --from +12025550113 --behaviour presses_star --wait`.
    """
    import time

    from cli.render import print_json, say

    with _Network() as network:
        order = {"from": from_ or network.rung_last(), "to": to, "behaviour": behaviour}
        made = network.post("calls", {name: value for name, value in order.items() if value})
        while wait and made["ended_at"] is None:
            time.sleep(0.2)
            found = network.get(f"calls/{made['sid']}")
            made = {name: found[name] for name in made}
    if json:
        print_json(made)
        return
    say(f"{made['from']} rings {made['to']} ({made['behaviour']}): {made['status']}; see `orch phone show {made['sid'][:10]}`")


class _Network:
    """The simulator's own port, asked with the simulated account's token."""

    def __enter__(self) -> _Network:
        """Raises Conflict when the carrier is another."""
        from core.errors import Conflict
        from core.settings import load_settings

        self._settings: Settings = load_settings()
        if not self._settings.simulated:
            raise Conflict(f"there are no simulated phones: ORCH_CARRIER is {self._settings.providers.carrier}")
        return self

    def __exit__(self, *_: object) -> None: ...

    def get(self, what: str) -> dict[str, Any]:
        return self._ask("GET", what, None)

    def post(self, what: str, order: dict[str, str]) -> dict[str, Any]:
        return self._ask("POST", what, order)

    def rung_last(self) -> str:
        calls = self.get("calls?limit=100")["calls"]
        return next((str(call["to"]) for call in calls if call["direction"] == "outbound-api"), _SOMEBODY)

    def _ask(self, method: str, what: str, order: dict[str, str] | None) -> dict[str, Any]:
        """Raises NotRunning when nobody answers there, NotFound and InvalidInput for what the network refuses."""
        import json
        from base64 import b64encode
        from http.client import HTTPConnection, HTTPException

        from core.errors import InvalidInput, NotFound, NotRunning, OrchError
        from core.telephony.simulated import simulated_account

        port = self._settings.providers.simulator_port
        account = simulated_account(self._settings.paths.keys)
        credentials = b64encode(f"{account.account_sid}:{account.auth_token}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        connection = HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
        try:
            connection.request(method, f"/simulator/{what}", json.dumps(order) if order is not None else None, headers)
            answer = connection.getresponse()
            body = json.loads(answer.read())
        except (OSError, HTTPException, ValueError) as error:
            raise NotRunning(f"the phone simulator does not answer on port {port} ({error}); start it with `orch start-all`") from None
        finally:
            connection.close()
        if answer.status == 401:
            raise OrchError(f"port {port} is served by the phone simulator of another installation; set ORCH_HOME or ORCH_SIMULATOR_PORT")
        if answer.status == 404:
            raise NotFound(f"no simulated call is known as {what.rpartition('/')[2]}; see `orch phone list`")
        if answer.status >= 400:
            raise InvalidInput(f"the phone simulator refuses: {body.get('message', answer.reason)}")
        found: dict[str, Any] = body
        return found


def _phone_row(numbers: str, each: dict[str, Any]) -> tuple[str, str, str, str]:
    weather = each.get("weather")
    return numbers, ", ".join(each["behaviours"]), each["choice"], "as everywhere" if weather is None else "its own" if weather else "calm"


def _clock(at: str) -> str:
    from datetime import datetime

    return datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _told(event: dict[str, Any]) -> list[str]:
    """One event, in lines. What is not known here is shown as it is."""
    match event["kind"]:
        case "status":
            return [event["status"] + (f" (SIP {event['sip_code']})" if event.get("sip_code") else "")]
        case "webhook":
            result = f"HTTP {event['status']}" if event["status"] else event["problem"] or "no answer"
            told = dict(event["fields"])
            about = told.get("CallStatus") or told.get("StreamEvent") or told.get("RecordingStatus") or told.get("AnsweredBy") or ""
            document = _indented(event["body"]) if event["body"].lstrip().startswith("<") else []
            return [f"{event['purpose']} {about} -> {result} in {event['ms']} ms  {event['method']} {event['url']}", *document]
        case "said" | "heard" | "dtmf":
            at = f" (at {event['at_ms'] / 1000:.1f} s of the stream)" if "at_ms" in event else ""
            what = event.get("text") or (f"pressed {event['digit']}" if "digit" in event else f"us, for {event.get('ms', 0) / 1000:.1f} s")
            return [f"{what}{at}"]
        case "request":
            return [f"{event['method']} {event['path']} -> {event['status']}" + (f" (code {event['code']})" if event.get("code") else "")]
        case "warning":
            return [f"{event['code']}: {event['text']}"]
        case "mark":
            return [f"{event['name']} {'cleared' if event['cleared'] else 'played'} (at {event['at_ms'] / 1000:.1f} s of the stream)"]
    rest = {key: value for key, value in event.items() if key not in {"at", "kind"}}
    return ["  ".join(str(value) if key in {"verb", "what", "state"} else f"{key}={value}" for key, value in rest.items())]


def _indented(document: str) -> list[str]:
    from xml.etree import ElementTree as ET

    try:
        # Our own document, as the network has already read it.
        root = ET.fromstring(document)  # noqa: S314
    except ET.ParseError:
        return document.splitlines()
    ET.indent(root)
    return ET.tostring(root, encoding="unicode").splitlines()
