"""Which ``Host`` and ``Origin`` headers a server accepts from whoever has no key.

A web page can make a browser send requests to a server on this machine: across origins (its own
name is then in ``Origin``), or by DNS rebinding, where the page's name resolves to 127.0.0.1 (its
own name is then in ``Host``). A server on loopback that asks for no key refuses both.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from headrace.core.errors import InvalidParameterError

ANY = "*"
NULL = "null"
"""The origin of pages that have none of their own, such as files and sandboxed frames."""


def is_loopback(host: str) -> bool:
    """Whether this address, or this name without a port, is this machine's loopback interface.

    ``localhost`` and every name under it are (RFC 6761, 6.3), whatever a resolver says of them.
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
    """The name alone, in lower case, of ``NAME``, ``NAME:PORT`` or ``[ADDRESS]:PORT``."""
    header = header.strip()
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].rstrip(".").lower()


def check_allowed_hosts(param: str, hosts: Iterable[str]) -> None:
    """Raises InvalidParameterError for what no Host header could match: a URL, a name with a
    port."""
    for host in hosts:
        name = host.removeprefix("*.")
        if host != ANY and _address(host) is None and (":" in name or not _is_name(name)):
            raise InvalidParameterError(
                param,
                f"takes names without scheme, port and path, such as api.example.com, "
                f"*.example.com or *; got {host!r}",
            )


def check_allowed_origins(param: str, origins: Iterable[str]) -> None:
    """Raises InvalidParameterError for what no Origin header could match: a name alone, a path."""
    for origin in origins:
        if origin in (ANY, NULL):
            continue
        scheme, separator, rest = origin.rstrip("/").partition("://")
        if not scheme or not separator or not _is_name(rest):
            raise InvalidParameterError(
                param,
                f"takes origins as browsers send them, SCHEME://HOST or SCHEME://HOST:PORT, or *; "
                f"got {origin!r}",
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
    """Accepts loopback, and what the operator adds to it."""

    allowed_hosts: tuple[str, ...] = ()
    """Host names without ports; ``*.example.com`` means every name below it, ``*`` every name."""
    allowed_origins: tuple[str, ...] = ()
    """``SCHEME://HOST[:PORT]`` as browsers send it; ``*`` means every origin."""

    def accepts_host(self, header: str | None) -> bool:
        """None: the request has no Host, so that no browser sent it."""
        return header is None or self._knows_name(host_name(header))

    def accepts_origin(self, header: str | None) -> bool:
        """None: the request has no Origin; browsers send one with every POST and every CORS
        request. A page of an accepted host is an accepted origin."""
        if header is None or ANY in self.allowed_origins:
            return True
        origin = header.strip().rstrip("/").lower()
        if origin in (allowed.rstrip("/").lower() for allowed in self.allowed_origins):
            return True
        try:
            name = urlsplit(origin).hostname
        except ValueError:
            return False
        return name is not None and self._knows_name(name)

    def _knows_name(self, name: str) -> bool:
        return is_loopback(name) or _matches(name, self.allowed_hosts)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    for pattern in patterns:
        pattern = pattern.strip("[]").rstrip(".").lower()
        if pattern in (ANY, name):
            return True
        if pattern.startswith("*.") and name.endswith(pattern[1:]) and len(name) >= len(pattern):
            return True
    return False
