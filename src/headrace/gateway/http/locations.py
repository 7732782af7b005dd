"""Rewrites the URLs in a replica's ``Location`` headers for the client.

A replica's own URLs become paths with the service's prefix, which every client resolves against the
URL that it used, through any proxies. URLs of other servers stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from headrace.gateway.http.response_head import ForwardedHead
from headrace.listen.origins import is_loopback

_url = re.compile(rb"((?:https?:)?//)([^/?#\\]*)(.*)", re.IGNORECASE | re.DOTALL).fullmatch

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::]")


@dataclass(frozen=True, slots=True)
class LocationRewriter:
    """For the responses of one replica to one client."""

    prefix: bytes
    """Of the service's paths at the gateway; empty if the host names the service."""
    replica: frozenset[bytes]
    """``HOST:PORT`` of the replica in lower case, under every name that it may have."""
    client: frozenset[bytes]
    """The same of the gateway, as the client addresses it."""

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


class Endpoint(Protocol):
    host: str
    port: int


def rewrite_locations(
    head: ForwardedHead, prefix: bytes, replica: Endpoint, client_hosts: frozenset[bytes]
) -> None:
    """In the head of this replica's response; the arguments are those of `LocationRewriter`."""
    addresses = replica_addresses(replica.host, replica.port)
    head.rewrite_locations(LocationRewriter(prefix, addresses, client_hosts).for_client)


def replica_addresses(host: str, port: int) -> frozenset[bytes]:
    """The names under which a replica that listens there may refer to itself."""
    names = {f"[{host}]" if ":" in host else host}
    if is_loopback(host):
        names.update(_LOOPBACK_NAMES)
    addresses = {f"{name}:{port}" for name in names}
    if port in (80, 443):
        addresses |= names
    return frozenset(address.lower().encode() for address in addresses)
