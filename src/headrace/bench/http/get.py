"""GET requests beside the measured ones.

They go directly to the server's address, as the measured requests do: without proxies, .netrc or
redirects.
"""

import socket
import ssl
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

from headrace.bench.http.address import Address
from headrace.bench.http.credentials import authorization

TIMEOUT_S = 10.0
"""For the connection, and for each read."""
MAX_BODY_LEN = 16 * 1024 * 1024
"""Bytes."""


class NoReplyError(Exception):
    """The server did not respond; the text is the system's reason."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    location: str | None
    """Of a redirect."""
    body: bytes


def get(
    address: Address,
    path: str,
    *,
    tls: ssl.SSLContext | None,
    api_key: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Reply:
    """``path`` is appended to the address's path. Raises NoReplyError and OptionError."""
    headers = {
        "Host": address.host_header,
        "Accept": "application/json",
        "User-Agent": "headrace-bench",
        **authorization(api_key),
    }
    connection = _DirectConnection(address, tls, timeout_s)
    try:
        connection.request("GET", address.path + path, headers=headers)
        response = connection.getresponse()
        body = response.read(MAX_BODY_LEN + 1)
    except (OSError, HTTPException) as error:
        raise NoReplyError(_reason(error)) from error
    finally:
        connection.close()
    if len(body) > MAX_BODY_LEN:
        raise NoReplyError(f"the response exceeds {MAX_BODY_LEN:,} bytes")
    return Reply(response.status, response.getheader("Location"), body)


class _DirectConnection(HTTPConnection):
    """Connects to the hosts of the address (`Address.connect_hosts`)."""

    def __init__(self, address: Address, tls: ssl.SSLContext | None, timeout_s: float) -> None:
        super().__init__(address.host, address.port, timeout=timeout_s)
        self._address = address
        self._tls = tls

    def connect(self) -> None:
        self.sock = _connect(self._address, self.timeout)
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._address.host)


def _connect(address: Address, timeout_s: float | None) -> socket.socket:
    first: OSError | None = None
    for host in address.connect_hosts:
        try:
            return socket.create_connection((host, address.port), timeout_s)
        except (OSError, UnicodeError) as error:  # UnicodeError: a label of more than 63 characters
            first = first or (error if isinstance(error, OSError) else OSError(str(error)))
    assert first is not None, "there is always a host to try"
    raise first


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}; see --ssl-ca-certs"
    if isinstance(error, TimeoutError):
        return "timed out"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
