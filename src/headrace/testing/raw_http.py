"""Plain HTTP/1.1 requests for tests, with every header under the test's control.

httpx2 refuses headers that are not valid HTTP; `send_bytes` sends them.
"""

import json
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

TIMEOUT_S = 60.0
"""For the connection, and for each read."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, which must have OpenAI's shape, or Anthropic's with the same keys."""
        error = self.json["error"]
        assert self.json == {"error": error} or self.json == {"type": "error", "error": error}
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        return dict(error)


def request(
    url: str,
    method: str,
    path: str,
    body: bytes | str | Iterable[bytes] | None = None,
    **headers: str,
) -> Answer:
    """One request; header names are given with underscores. Raises OSError."""
    with stream(url, method, path, body, headers) as response:
        content = b"".join(response.iter_raw())
        return Answer(response.status_code, dict(response.headers), content)


@contextmanager
def stream(
    url: str,
    method: str,
    path: str,
    body: bytes | str | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
) -> Iterator[httpx2.Response]:
    """The same, with the body of the response yet to be read."""
    request = httpx2.Request(
        method,
        url,
        content=body,
        headers={name.replace("_", "-"): value for name, value in (headers or {}).items()},
        extensions={
            "target": path.encode(),
            "timeout": httpx2.Timeout(timeout_s).as_dict(),
        },
    )
    # A transport, unlike a client, adds no headers.
    unused_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with httpx2.HTTPTransport(verify=unused_tls, trust_env=False) as transport:
        try:
            response = transport.handle_request(request)
            try:
                yield response
            finally:
                response.close()
        except httpx2.TimeoutException as error:
            raise TimeoutError(str(error)) from error
        except httpx2.HTTPError as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error


def send_bytes(url: str, request: bytes) -> socket.socket:
    """Send any bytes; the response is not read."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    sock = socket.create_connection((parts.hostname, parts.port), TIMEOUT_S)
    sock.sendall(request)
    return sock


def send_json(url: str, path: str, body: object) -> socket.socket:
    """Send a POST request; the response is not read."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return send_bytes(url, head.encode() + content)


def post(url: str, path: str, body: object, **headers: str) -> Answer:
    """A body as JSON."""
    headers = {"content_type": "application/json", **headers}
    return request(url, "POST", path, json.dumps(body), **headers)
