"""HTTP below the routes: HTTP/1.0 clients, header limits, invalid HTTP."""

import json
import socket
from urllib.parse import urlsplit

import pytest

from headrace.server.http.uvicorn_protocol import MAX_HEAD_SIZE
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import request

BODY = json.dumps({"model": "parrot", "prompt": "0123456789abcdef", "max_tokens": 20})
STREAM = json.dumps({**json.loads(BODY), "stream": True})


def connect(server: ServerProcess) -> socket.socket:
    parts = urlsplit(server.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=60.0)


def send(server: ServerProcess, data: bytes) -> tuple[bytes, bytes]:
    """Headers and body of the response, read until the server closes the connection."""
    with connect(server) as connection:
        connection.sendall(data)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    return head.lower(), body


def head_of(body: str, version: str, *lines: str) -> bytes:
    length = f"content-length: {len(body)}"
    first = f"POST /v1/completions HTTP/{version}"
    return "\r\n".join([first, *lines, length, "", body]).encode()


@pytest.mark.parametrize("lines", [(), ("connection: keep-alive",), ("host: localhost",)])
def test_a_stream_to_http_1_0_is_not_chunked(server: ServerProcess, lines: tuple[str, ...]) -> None:
    head, body = send(server, head_of(STREAM, "1.0", *lines))
    assert head.startswith(b"http/1.1 200")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    *events, done = body.removesuffix(b"\n\n").split(b"\n\n")
    assert done == b"data: [DONE]"
    texts = [json.loads(event.removeprefix(b"data: "))["choices"][0]["text"] for event in events]
    plain = json.loads(request(server.url, "POST", "/v1/completions", BODY).body)
    assert "".join(texts) == plain["choices"][0]["text"]


def test_other_responses_to_http_1_0_have_a_length(server: ServerProcess) -> None:
    head, body = send(server, head_of(BODY, "1.0"))
    assert b"transfer-encoding" not in head
    assert b"content-length: %d" % len(body) in head
    assert json.loads(body)["object"] == "text_completion"
    head, body = send(server, b"HEAD /health HTTP/1.0\r\n\r\n")
    assert head.startswith(b"http/1.1 200")
    assert body == b""
    head, body = send(server, b"GET /nonsense HTTP/1.0\r\n\r\n")
    assert head.startswith(b"http/1.1 404")
    assert json.loads(body)["error"]["code"] == "unknown_url"


def test_a_stream_to_http_1_1_is_chunked(server: ServerProcess) -> None:
    lines = ("host: localhost", "connection: close")
    head, _ = send(server, head_of(STREAM, "1.1", *lines))
    assert b"transfer-encoding: chunked" in head


@pytest.mark.parametrize(
    "begin", [b"GET /", b"GET /health HTTP/1.1\r\nx: ", b"GET /health HTTP/1.1\r\n"]
)
def test_endless_headers_are_refused(server: ServerProcess, begin: bytes) -> None:
    """The parser buffers incomplete headers and copies them with each read."""
    more = b"x: y\r\n" * 10_000 if begin.endswith(b"\n") else b"x" * 60_000
    head, body = flood(server, begin, more)
    assert head.startswith(b"http/1.1 431")
    assert json.loads(body)["error"]["code"] == "headers_too_large"
    assert request(server.url, "GET", "/health").status == 200


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"])
def test_invalid_http_is_refused(server: ServerProcess, data: bytes) -> None:
    head, body = send(server, data)
    assert head.startswith(b"http/1.1 400")
    assert b"content-type: application/json" in head
    assert json.loads(body)["error"]["code"] == "invalid_http"


@pytest.mark.parametrize("begin", [b"0\r\nx: ", b"1;", b"0\r\n"])
def test_endless_trailers_and_extensions_close_the_connection(
    server: ServerProcess, begin: bytes
) -> None:
    lines = b"host: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    more = b"x: y\r\n" * 10_000 if begin.endswith(b"\n") else b"x" * 60_000
    flood(server, b"POST /v1/completions HTTP/1.1\r\n" + lines + begin, more)
    assert request(server.url, "GET", "/health").status == 200


def test_long_headers_within_the_limit_and_long_bodies_are_accepted(server: ServerProcess) -> None:
    value = "x" * (MAX_HEAD_SIZE - 1000)
    assert request(server.url, "GET", "/health", X_Long=value).status == 200
    body = iter([BODY[:10].encode(), BODY[10:].encode(), b" " * 300_000, b" " * 300_000])
    assert request(server.url, "POST", "/v1/completions", body).status == 200


def flood(server: ServerProcess, begin: bytes, more: bytes) -> tuple[bytes, bytes]:
    """Send data until the server closes the connection; returns its response."""
    received = b""
    with connect(server) as connection:
        connection.sendall(begin)
        try:
            for _ in range(1000):  # 60 MB
                connection.sendall(more)
            raise AssertionError("the server read all of it")
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            received = connection.recv(65536)
        except ConnectionResetError:
            received = b""
    head, _, body = received.partition(b"\r\n\r\n")
    return head.lower(), body
