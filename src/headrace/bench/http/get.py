"""GET requests beside the measured ones.

They go directly to the server's address, as the measured requests do: without proxies, .netrc or
redirects.
"""

import ssl
from dataclasses import dataclass

import httpx2

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
        "Connection": "close",
        **authorization(api_key),
    }
    extensions: dict[str, object] = {
        "target": (address.path + path).encode(),
        "sni_hostname": address.host,
        "timeout": httpx2.Timeout(timeout_s).as_dict(),
    }
    # A transport, unlike a client, adds no headers and follows no redirects.
    unused_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with httpx2.HTTPTransport(verify=tls or unused_tls, trust_env=False) as transport:
        try:
            response = _send(transport, address, headers, extensions)
            body = _read(response)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
            raise NoReplyError(_reason(error)) from error
    return Reply(response.status_code, response.headers.get("Location"), body)


def _send(
    transport: httpx2.HTTPTransport,
    address: Address,
    headers: dict[str, str],
    extensions: dict[str, object],
) -> httpx2.Response:
    """To the first host of the address (`Address.connect_hosts`) that accepts the connection."""
    first: Exception | None = None
    scheme = "https" if address.is_tls else "http"
    for host in address.connect_hosts:
        url = httpx2.URL(scheme=scheme, host=host, port=address.port)
        request = httpx2.Request("GET", url, headers=headers, extensions=extensions)
        try:
            return transport.handle_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            first = first or error
    assert first is not None, "there is always a host to try"
    raise first


def _read(response: httpx2.Response) -> bytes:
    body = bytearray()
    try:
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MAX_BODY_LEN:
                raise NoReplyError(f"the response exceeds {MAX_BODY_LEN:,} bytes")
    finally:
        response.close()
    return bytes(body)


def _reason(error: Exception) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "timed out"
    cause = _system_error(error) or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}; see --ssl-ca-certs"
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return text.rstrip(".")


def _system_error(error: BaseException | None) -> OSError | None:
    """That httpx2's error stands for."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error
