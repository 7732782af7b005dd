"""Where a replica's answer sends its client: as the client can reach it.

A replica knows its own address and not the path prefix that its service has at the gateway. What it
says of itself is turned into a path, which every client resolves against the URL that it used,
behind whatever proxies. Other servers' URLs stay as they are. Knows no connections.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.listen.origins import is_loopback

if TYPE_CHECKING:
    from headrace.gateway.http.http_request import Request, Sender
    from headrace.gateway.routing.decisions import ServiceMatch
    from headrace.gateway.routing.replica import Replica
    from headrace.gateway.upstream.connection import AnswerHead

_url = re.compile(rb"((?:https?:)?//)([^/?#\\]*)(.*)", re.IGNORECASE | re.DOTALL).fullmatch

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::]")


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What is the service's own in a URL."""

    prefix: bytes
    """Of the service's paths, as the client has them; empty if its host names the service."""
    replica: frozenset[bytes]
    """``HOST:PORT`` of the replica, in lower case, however it may call itself."""
    client: frozenset[bytes]
    """The same of the gateway, as the client calls it."""

    def for_client(self, location: bytes) -> bytes:
        """The value of ``Location`` or ``Content-Location`` that the client gets."""
        url = _url(location)
        if url is None:
            return self.prefix + location if location.startswith(b"/") else location
        begin, authority, rest = url[1], url[2], url[3]
        authority = authority.rpartition(b"@")[2].lower()
        if not rest.startswith(b"/"):
            rest = b"/" + rest
        if authority in self.replica:
            path = self.prefix + rest
            # Two slashes would make the next segment a host.
            return b"/." + path if path[1:2] in (b"/", b"\\") else path
        if authority in self.client:
            return begin + authority + self.prefix + rest
        return location


def rewrite_locations(
    head: AnswerHead, request: Request, sender: Sender, match: ServiceMatch, replica: Replica
) -> None:
    """In the head of this replica's answer to the request."""
    hosts = request.client_hosts(sender)
    head.rewrite_locations(Whereabouts(match.prefix, replica_addresses(replica), hosts).for_client)


def replica_addresses(replica: Replica) -> frozenset[bytes]:
    """How it may call itself."""
    names = {f"[{replica.host}]" if ":" in replica.host else replica.host}
    if is_loopback(replica.host):
        names.update(_LOOPBACK_NAMES)
    addresses = {f"{name}:{replica.port}" for name in names}
    if replica.port in (80, 443):
        addresses |= names
    return frozenset(address.lower().encode() for address in addresses)
