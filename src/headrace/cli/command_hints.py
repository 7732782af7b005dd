"""What people type who know another program, and what to type here instead.

Knows no command; it is asked before the words are read.
"""

from collections.abc import Sequence

_NO_ACCOUNT = (
    "There is no account here: `headrace up` starts a platform on this machine, and "
    "`headrace status` shows it."
)
_INSTEAD = {
    ("whoami",): _NO_ACCOUNT,
    ("configure",): _NO_ACCOUNT,
    ("login",): _NO_ACCOUNT,
    ("serve", "revision"): "It is `headrace revision {rest}`; `headrace serve` serves one model.",
    ("serve", "gateway"): "It is `headrace gateway {rest}`; `headrace serve` serves one model.",
}


def instead_of(words: Sequence[str]) -> str | None:
    """What to type in place of ``words``; None if they are meant for us."""
    for number in (1, 2):
        told = _INSTEAD.get(tuple(words[:number]))
        rest = words[number:]
        # A folder may be called revision, and be served with options.
        if told is not None and (number == 1 or (rest and not rest[0].startswith("-"))):
            return told.format(rest=" ".join(rest))
    return None
