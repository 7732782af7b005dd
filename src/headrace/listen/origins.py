"""Which ``Host`` and ``Origin`` headers a server without authentication accepts.

A web page can make a browser send requests to a server on the same machine: across origins (its
name is then in ``Origin``), or by DNS rebinding, in which the page's name resolves to 127.0.0.1
(its name is then in ``Host``). A server on loopback without authentication refuses both.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from headrace.core.errors import InvalidParameterError

ANY = "*"
NULL = "null"
"""The opaque origin, of files and sandboxed frames."""


def is_loopback(host: str) -> bool:
    """Whether an address or a name without port is the loopback interface.

    ``localhost`` and its subdomains always are (RFC 6761, 6.3); no name is resolved.
    """
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    if address is None:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def host_name(header: str) -> str:
    """The lower-case name of ``NAME``, ``NAME:PORT`` or ``[ADDRESS]:PORT``."""
    header = header.strip()
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].rstrip(".").lower()


def check_allowed_hosts(param: str, hosts: Iterable[str]) -> None:
    """Raises InvalidParameterError for a value that no Host header can match, such as a URL or a
    name with a port."""
    for host in hosts:
        name = host.removeprefix("*.")
        if host != ANY and _address(host) is None and (":" in name or not _is_name(name)):
            raise InvalidParameterError(
                param,
                f"must be a host name without scheme, port and path, such as api.example.com, "
                f"*.example.com or *; got {host!r}",
            )


def check_allowed_origins(param: str, origins: Iterable[str]) -> None:
    """Raises InvalidParameterError for a value that no Origin header can match, such as a name
    without scheme."""
    for origin in origins:
        if origin in (ANY, NULL):
            continue
        scheme, separator, rest = origin.rstrip("/").partition("://")
        if not scheme or not separator or not _is_name(rest):
            raise InvalidParameterError(
                param,
                f"must be an origin, SCHEME://HOST or SCHEME://HOST:PORT, or *; got {origin!r}",
            )


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name.strip("[]"))
    except ValueError:
        return None


def _is_name(text: str) -> bool:
    return bool(text) and text.isprintable() and not set(text) & set("/*?#@, ")


@dataclass(frozen=True)
class OriginPolicy:
    """Accepts loopback, and the hosts and origins that the operator allows."""

    allowed_hosts: tuple[str, ...] = ()
    """Host names without ports; ``*.example.com`` matches subdomains, ``*`` every name."""
    allowed_origins: tuple[str, ...] = ()
    """``SCHEME://HOST[:PORT]``; ``*`` matches every origin."""

    def accepts_host(self, header: str | None) -> bool:
        """None: no Host header, so the client is not a browser; accepted."""
        return header is None or self._accepts_name(host_name(header))

    def accepts_origin(self, header: str | None) -> bool:
        """None: no Origin header, which browsers send with every POST and CORS request; accepted.

        The origin of a page on an accepted host is accepted.
        """
        if header is None or ANY in self.allowed_origins:
            return True
        origin = header.strip().rstrip("/").lower()
        if origin in (allowed.rstrip("/").lower() for allowed in self.allowed_origins):
            return True
        try:
            name = urlsplit(origin).hostname
        except ValueError:
            return False
        return name is not None and self._accepts_name(name)

    def _accepts_name(self, name: str) -> bool:
        return is_loopback(name) or _matches(name, self.allowed_hosts)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    for pattern in patterns:
        pattern = pattern.strip("[]").rstrip(".").lower()
        if pattern in (ANY, name):
            return True
        if pattern.startswith("*.") and name.endswith(pattern[1:]) and len(name) >= len(pattern):
            return True
    return False
