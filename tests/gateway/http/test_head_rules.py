"""Heads that are rejected although the parser accepts them."""

import pytest

from headrace.gateway.http.head_rules import check_head
from headrace.gateway.http.http_request import Request


def make(target: bytes, *headers: tuple[bytes, bytes], method: bytes = b"POST") -> Request:
    request = Request()
    request.method = method
    request.target = target
    for name, value in headers:
        request.add_header(name, value)
    return request


HOST = (b"Host", b"svc.localhost:8080")


@pytest.mark.parametrize(
    ("request_", "version"),
    [
        (make(b"/v1/x", HOST), "1.1"),
        (make(b"/v1/x", (b"Host", b"")), "1.1"),
        (make(b"/v1/x", (b"Host", b"[::1]:80")), "1.1"),
        (make(b"/v1/x"), "1.0"),
        (make(b"/v1/x", HOST, (b"Transfer-Encoding", b"Chunked")), "1.1"),
        (make(b"http://a:1/b?c", HOST), "1.1"),
        (make(b"HTTPS://a?c", HOST), "1.1"),
        (make(b"*", HOST, method=b"OPTIONS"), "1.1"),
    ],
)
def test_unambiguous_heads_are_accepted(request_: Request, version: str) -> None:
    assert check_head(request_, version) is None


@pytest.mark.parametrize(
    ("request_", "version", "status"),
    [
        pytest.param(make(b"/"), "1.1", 400, id="no host"),
        pytest.param(make(b"http://a/"), "1.1", 400, id="a URL and no host"),
        pytest.param(make(b"/", HOST, (b"host", b"b")), "1.1", 400, id="two hosts"),
        pytest.param(make(b"/", HOST, (b"host", b"b")), "1.0", 400, id="two hosts, 1.0"),
        pytest.param(make(b"/", (b"Host", b"a b")), "1.1", 400, id="a host with a space"),
        pytest.param(make(b"/", (b"Host", b"a/b")), "1.1", 400, id="a host with a path"),
        pytest.param(make(b"/", (b"Host", b"u@a")), "1.1", 400, id="a host with a user"),
        pytest.param(make(b"/", HOST), "0.9", 400, id="0.9"),
        pytest.param(make(b"/", HOST), "2.0", 400, id="2.0"),
        pytest.param(
            make(b"/", HOST, (b"Transfer-Encoding", b"gzip, chunked")), "1.1", 501, id="gzip"
        ),
        pytest.param(
            make(b"/", HOST, (b"Transfer-Encoding", b"gzip"), (b"Transfer-Encoding", b"chunked")),
            "1.1",
            501,
            id="gzip, in lines of their own",
        ),
        pytest.param(
            make(b"/", HOST, (b"Transfer-Encoding", b"chunked")), "1.0", 400, id="1.0 in chunks"
        ),
        pytest.param(make(b"*", HOST), "1.1", 400, id="* without OPTIONS"),
        pytest.param(make(b"*x", HOST, method=b"OPTIONS"), "1.1", 400, id="*x"),
        pytest.param(make(b"v1", HOST), "1.1", 400, id="no slash"),
        pytest.param(make(b"http:///x", HOST), "1.1", 400, id="a URL without a host"),
        pytest.param(make(b"http://u:p@a/x", HOST), "1.1", 400, id="a URL with a user"),
        pytest.param(make(b"ws://a/x", HOST), "1.1", 400, id="another scheme"),
    ],
)
def test_ambiguous_heads_are_rejected(request_: Request, version: str, status: int) -> None:
    refused = check_head(request_, version)
    assert refused is not None
    assert refused.status == status
