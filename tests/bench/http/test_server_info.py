"""Queries of a server's models and version, over real HTTP."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from headrace.bench.errors import OptionError, ServerError
from headrace.bench.http.get import MAX_BODY_LEN
from headrace.bench.http.server_info import ServerInfo, ask_server, find_target
from headrace.bench.records import BenchTarget

CARDS = b'{"data": [{"id": "m", "dtype": "bfloat16"}, {"id": "n", "root": "r"}]}'
Serve = Callable[[dict[str, tuple[int, bytes]]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server with given responses by path, 404 elsewhere, and 401 with a wrong key."""
    servers: list[ThreadingHTTPServer] = []

    def start(responses: dict[str, tuple[int, bytes]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = responses.get(self.path, (404, b"{}"))
                if self.path in responses and self.headers.get("Authorization") not in (
                    None,
                    "Bearer sk-right",
                ):
                    status, body = 401, b"{}"
                self.send_response(status)
                if status == 308:
                    self.send_header("Location", f"https://elsewhere{self.path}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_first_model_is_the_target(serve: Serve) -> None:
    url = serve({"/v1/models": (200, CARDS)})
    assert find_target(f"{url}/v1", None) == BenchTarget("server", url, "m")
    assert find_target(url, "other", name="a") == BenchTarget("a", url, "other")


def test_server_info_is_read_from_models_and_version(serve: Serve) -> None:
    url = serve({"/v1/models": (200, CARDS), "/version": (200, b'{"version": "1.2"}')})
    reported = ask_server(BenchTarget("server", url, "m"))
    assert reported == ServerInfo("m", {"id": "m", "dtype": "bfloat16"}, "1.2", "bfloat16")
    reported = ask_server(BenchTarget("server", url, "n"))
    assert (reported.card, reported.dtype) == ({"id": "n", "root": "r"}, None)


def test_missing_server_info_is_accepted(serve: Serve) -> None:
    assert ask_server(BenchTarget("server", serve({}), "m")) == ServerInfo("m")


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ((200, b"{}"), "is not a list of models"),
        ((200, b'{"data": []}'), "lists no model"),
        ((200, b"<html>"), "is not JSON"),
        ((200, b'{"data": "\xff"}'), "is not JSON"),
        ((200, b"[" * 100_000), "is not JSON"),
        ((200, b'{"data": [{"id": "\\ud800"}]}'), "is not JSON"),
        ((200, b'{"data": [{"id": ""}, {"id": 3}, 4, null]}'), "lists no model"),
        ((200, b" " * (MAX_BODY_LEN + 1)), "exceeds"),
        ((500, b""), "HTTP 500"),
        ((308, b""), "redirects to https://elsewhere/v1/models .*--base-url"),
    ],
)
def test_invalid_model_lists_are_errors(
    serve: Serve, response: tuple[int, bytes], message: str
) -> None:
    with pytest.raises(ServerError, match=message):
        find_target(serve({"/v1/models": response}), None)


def test_a_rejected_key_is_reported_and_not_disclosed(serve: Serve) -> None:
    url = serve({"/v1/models": (200, CARDS)})
    assert find_target(url, None, "sk-right").model == "m"
    with pytest.raises(ServerError, match="requires an API key") as caught:
        find_target(url, None, "sk-wrong")
    assert "sk-wrong" not in str(caught.value)


def test_a_refused_connection_is_an_error() -> None:
    with pytest.raises(ServerError, match=r"\(Connection refused\). Check that the server is up"):
        find_target("http://127.0.0.1:1", None)


def test_a_password_in_the_url_is_refused_before_any_request() -> None:
    with pytest.raises(OptionError) as caught:
        find_target("http://me:secret@127.0.0.1:1", None)
    assert "secret" not in str(caught.value)


def test_an_invalid_key_is_refused_and_not_disclosed() -> None:
    with pytest.raises(OptionError) as caught:
        find_target("http://127.0.0.1:1", None, "sk-secret\r\nX: y")
    assert "sk-secret" not in str(caught.value)


def test_a_key_echoed_by_the_server_is_redacted(serve: Serve) -> None:
    card = b'{"data": [{"id": "m", "owned_by": "who has sk-right", "seen": ["sk-right"]}]}'
    url = serve({"/v1/models": (200, card), "/version": (200, b'{"version": "sk-right"}')})
    info = ask_server(BenchTarget("server", url, "m", "sk-right"))
    assert info.card == {"id": "m", "owned_by": "who has ***", "seen": ["***"]}
    assert info.version == "***"


def test_a_byte_order_mark_is_skipped(serve: Serve) -> None:
    url = serve({"/v1/models": (200, b"\xef\xbb\xbf" + CARDS)})
    assert find_target(url, None).model == "m"
