"""What the router uses of a request: its sticky key and the prefixes of its prompt.

They are read from the body without changing it; a body that is not JSON has none.
"""

from __future__ import annotations

import msgspec

from headrace.gateway.routing.balancer import prefix_hashes
from headrace.gateway.routing.quarantine import Suspect
from headrace.gateway.routing.topology import ServiceState, TargetState

MAX_PARSED_BYTES = 1 << 20
"""Of a body, to find its prompt: half a millisecond. Longer ones, mostly images, have no prefix
affinity; to find their ``user`` they are parsed all the same."""


class RequestFeatures:
    """One request's; the router also stores here what it has decided for the request."""

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
        """The longest prefix last."""
        self.target: TargetState | None = None
        """The result of the split, which is asked once a request."""
        self.is_held = False
        """It has a place in the queue."""
        self.has_begun = False
        """A replica was chosen for it before."""
        self.digest: bytes | None = None
        """Of the whole request; the data path sets it when the router needs it."""
        self.isolated: Suspect | None = None
        """Set when it has to be isolated at the replica that was chosen last."""


class _Body(msgspec.Struct):
    user: msgspec.Raw = msgspec.Raw(b"")
    prompt: msgspec.Raw = msgspec.Raw(b"")
    messages: msgspec.Raw = msgspec.Raw(b"")
    input: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_Body).decode
_NO_USERS = (b"", b"null", b'""')


def features_of(
    service: ServiceState, sticky_header_value: bytes | None, body: bytes
) -> RequestFeatures:
    """The features that this service's routing uses; no others are computed."""
    sticky_key = sticky_header_value or None if service.sticky_header else None
    needs_prefix = service.needs_prefix and len(body) <= MAX_PARSED_BYTES
    if not body or not (needs_prefix or service.sticky_user):
        return RequestFeatures(sticky_key, ())
    try:
        parsed = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return RequestFeatures(sticky_key, ())
    if service.sticky_user:
        user = bytes(parsed.user)
        sticky_key = None if user in _NO_USERS else user
    if not needs_prefix:
        return RequestFeatures(sticky_key, ())
    prompt = parsed.messages or parsed.prompt or parsed.input
    return RequestFeatures(sticky_key, prefix_hashes(memoryview(prompt)))
