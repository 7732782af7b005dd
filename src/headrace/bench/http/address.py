"""A server's address, parsed from its base URL.

All requests go to it directly; the environment's proxy settings are ignored.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from headrace.bench.errors import OptionError
from headrace.bench.redaction import url_without_secrets
from headrace.listen.origins import is_loopback

LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens."""

    host: str
    """A name or an IP address, as in the URL; IPv6 without brackets."""
    port: int
    is_tls: bool
    path: str
    """Before ``/v1``; empty at the root."""

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def connect_hosts(self) -> tuple[str, ...]:
        """The hosts to try, in this order. ``localhost`` and all names below it are the loopback
        interface (RFC 6761, 6.3), whatever the resolver returns."""
        if is_loopback(self.host) and not _is_ip_address(self.host):
            return LOOPBACK
        return (self.host,)


def plain_base_url(url: str) -> str:
    """``http://host:port`` of a URL with or without scheme, final slash or ``/v1``.

    Raises OptionError if it is not valid.
    """
    url = url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    if not url:
        raise OptionError("--base-url is empty. Use a URL like http://127.0.0.1:8000.")
    url = url if "://" in url else f"http://{url}"
    parse_address(url)
    return url


def parse_address(base_url: str) -> Address:
    """Read ``http://host:port``, with or without ``/v1`` at its end. Raises OptionError."""
    shown = url_without_secrets(base_url)
    if not base_url.isascii():
        raise OptionError(f"{shown!a} has non-ASCII characters; percent-encode them.")
    if any(each.isspace() or not each.isprintable() for each in base_url):
        raise OptionError(f"{shown!r} has white space or control characters.")
    try:
        parts = urlsplit(base_url)
        if "@" in parts.netloc:
            raise OptionError("The base URL must not have a user name or password; use --api-key.")
        port = parts.port
        (parts.hostname or "").encode("idna")
    except UnicodeError:
        raise OptionError(f"The host of {shown!r} is not a valid host name.") from None
    except ValueError:
        port = 0
    if port == 0:
        raise OptionError(f"The port of {shown!r} is not a number from 1 to 65535.")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise OptionError(f"{shown!r} is not a base URL. Use a URL like http://127.0.0.1:8000.")
    is_tls = parts.scheme == "https"
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return Address(parts.hostname, port or (443 if is_tls else 80), is_tls, path)


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
