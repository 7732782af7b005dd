"""A request that is there in full, behind others whose answers come first.

Knows what is needed to start it, and not when.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.gateway.http.http_request import Request
    from headrace.gateway.http.local_reply import OwnAnswer
    from headrace.gateway.routing.decisions import ServiceMatch


class Queued:
    __slots__ = ("arrived_at", "body", "match", "request")

    def __init__(
        self, request: Request, body: bytes, match: ServiceMatch | OwnAnswer, arrived_at: float
    ) -> None:
        self.request = request
        self.body = body
        self.match = match
        self.arrived_at = arrived_at
