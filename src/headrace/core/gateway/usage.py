"""What the gateway has counted by service, API key and model, as the control plane reads it.

``GET /usage`` on the gateway's admin port returns one `GatewayUsage` as JSON.
"""

import msgspec


class UsageCounts(msgspec.Struct, frozen=True):
    """Requests that have ended, and their tokens."""

    num_requests: int = 0
    num_errors: int = 0
    """Of them: 5xx, and streams that were cut or ended with an error event."""
    prompt_tokens: int = 0
    """This and the next two are from the ``usage`` of responses. Streams have it only if the client
    asks with ``stream_options.include_usage``."""
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens that were in a replica's prefix cache."""

    def __add__(self, other: "UsageCounts") -> "UsageCounts":
        mine, others = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return UsageCounts(*(a + b for a, b in zip(mine, others, strict=True)))

    def since(self, earlier: "UsageCounts") -> "UsageCounts":
        """The increase. These are counters: one that is lower than before has been reset."""
        mine, before = msgspec.structs.astuple(self), msgspec.structs.astuple(earlier)
        if any(now < then for now, then in zip(mine, before, strict=True)):
            return self
        return UsageCounts(*(now - then for now, then in zip(mine, before, strict=True)))


class UsageKey(msgspec.Struct, frozen=True):
    """Whose usage it is."""

    service: str
    key: str
    """The name of the API key. Empty: the service has no keys, or the request had no valid one."""
    model: str
    """As the response names it; empty if there was none."""


class UsageTotal(msgspec.Struct, frozen=True):
    """What was counted since the gateway started."""

    key: UsageKey
    counts: UsageCounts


class GatewayUsage(msgspec.Struct, frozen=True):
    gateway_id: str
    """Of this process: another one starts at 0."""
    totals: tuple[UsageTotal, ...] = ()
