"""What a client's connection needs of the gateway that it came to. Knows no socket and no route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headrace.gateway.client_connection import ClientConnection
    from headrace.gateway.http.http_request import Request
    from headrace.gateway.http.local_reply import OwnAnswer
    from headrace.gateway.proxied_request import Exchange
    from headrace.gateway.routing.decisions import Refused, ServiceMatch


class Gateway(Protocol):
    """What all connections of one gateway share."""

    @property
    def is_draining(self) -> bool: ...

    @property
    def table_generation(self) -> int:
        """Another number whenever `match` may answer otherwise than before."""

    def match(self, request: Request) -> ServiceMatch | OwnAnswer:
        """The service that a request is for, if a replica may answer it. Completes the request."""

    def refused(self, match: ServiceMatch, refused: Refused) -> None:
        """Count a request that will be refused although it matched."""

    def start_exchange(
        self,
        connection: ClientConnection,
        match: ServiceMatch,
        request: Request,
        body: bytes,
        now: float,
    ) -> Exchange:
        """Have it answered, as soon as the exchange is started."""

    def opened(self, connection: ClientConnection) -> None: ...

    def closed(self, connection: ClientConnection) -> None: ...
