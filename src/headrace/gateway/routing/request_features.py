"""What the router needs to know of a request: its sticky key, and how its prompt begins.

Peeks into the body and changes nothing in it; a body that is not JSON gives no facts. Knows no
routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headrace.gateway.routing.prefix_affinity import prefix_hashes

if TYPE_CHECKING:
    from headrace.gateway.routing.quarantine import Suspect
    from headrace.gateway.routing.target_state import TargetState
    from headrace.gateway.routing.topology import ServiceState

MAX_PEEK_BYTES = 1 << 20
"""Of a body, to find its prompt: half a millisecond. Longer ones, mostly images, are balanced by
load alone; to find their ``user`` they are read all the same."""


class RequestFacts:
    """One request's; the router also keeps in it what it has decided for this request."""

    __slots__ = (
        "digest",
        "has_begun",
        "is_held",
        "isolated",
        "prefix_hashes",
        "sticky_key",
        "target",
    )

    def __init__(self, sticky_key: bytes | None, prefix_hashes: tuple[int, ...]) -> None:
        self.sticky_key = sticky_key
        self.prefix_hashes = prefix_hashes
        """The longest beginning last."""
        self.target: TargetState | None = None
        """To which the split gave it, once."""
        self.is_held = False
        """It has its place in the queue."""
        self.has_begun = False
        """A replica has been chosen for it before."""
        self.digest: bytes | None = None
        """Of the whole request; the exchange sets it when the router needs it."""
        self.isolated: Suspect | None = None
        """Set when it has to be isolated at the replica that was chosen last."""


class _Body(msgspec.Struct):
    user: msgspec.Raw = msgspec.Raw(b"")
    prompt: msgspec.Raw = msgspec.Raw(b"")
    messages: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_Body).decode
_NO_USERS = (b"", b"null", b'""')


def facts_of(
    service: ServiceState, header_value_of_sticky: bytes | None, body: bytes
) -> RequestFacts:
    """The facts that this service's routing uses; the work for others is not done."""
    sticky_key = header_value_of_sticky or None if service.sticky_header else None
    needs_prefix = service.needs_prefix and len(body) <= MAX_PEEK_BYTES
    if not body or not (needs_prefix or service.sticky_user):
        return RequestFacts(sticky_key, ())
    try:
        peeked = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return RequestFacts(sticky_key, ())
    if service.sticky_user:
        user = bytes(peeked.user)
        sticky_key = None if user in _NO_USERS else user
    if not needs_prefix:
        return RequestFacts(sticky_key, ())
    return RequestFacts(sticky_key, prefix_hashes(memoryview(peeked.messages or peeked.prompt)))
