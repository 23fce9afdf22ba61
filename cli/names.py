"""Which worker a person means."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import InvalidInput

# Names that other systems of this kind use for the same thing.
ALIASES = {
    "server": "webhook-server",
    "call-worker": "call-scheduler",
    "window-worker": "window-scheduler",
    "media-worker": "media-server",
    "simulator": "phone-simulator",
}


def resolve_worker(text: str, names: Sequence[str]) -> str:
    """The one of `names` that `text` is, abbreviates, or is another name of.

    Raises InvalidInput that lists the names, with the nearest match, or those that an abbreviation could mean.
    """
    wanted = text.strip().lower().replace("_", "-").removesuffix(".log")
    if wanted in names:
        return wanted
    if wanted in ALIASES and ALIASES[wanted] in names:
        return ALIASES[wanted]
    fitting = [name for name in names if wanted and name.startswith(wanted)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise InvalidInput(f"{text!r} could be {' or '.join(fitting)}; give more of the name")
    import difflib

    near = difflib.get_close_matches(wanted, [*names, *ALIASES], n=1, cutoff=0.5)
    known = [name for name in near if ALIASES.get(name, name) in names]
    hint = f"did you mean {ALIASES.get(known[0], known[0])}? " if known else ""
    raise InvalidInput(f"no worker is called {text!r}; {hint}Workers: {', '.join(names)}")
