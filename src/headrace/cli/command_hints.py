"""Hints for commands of other programs that do not exist here."""

from collections.abc import Sequence

_NO_ACCOUNT = (
    "Headrace needs no account: `headrace up` starts a platform on this machine, and "
    "`headrace status` shows it."
)
_INSTEAD = {
    ("whoami",): _NO_ACCOUNT,
    ("configure",): _NO_ACCOUNT,
    ("login",): _NO_ACCOUNT,
    ("serve", "revision"): "Use `headrace revision {rest}`; `headrace serve` serves one model.",
    ("serve", "gateway"): "Use `headrace gateway {rest}`; `headrace serve` serves one model.",
}


def hint_for(words: Sequence[str]) -> str | None:
    """The hint for a command line; None if there is none."""
    for number in (1, 2):
        hint = _INSTEAD.get(tuple(words[:number]))
        rest = words[number:]
        # `headrace serve revision --port 1` serves a folder named revision.
        if hint is not None and (number == 1 or (rest and not rest[0].startswith("-"))):
            return hint.format(rest=" ".join(rest))
    return None
