"""What a replica gets of a client's request."""

import pytest

from headrace.gateway.http.http_request import Request


def make(target: bytes = b"/v1/x", **headers: bytes) -> Request:
    request = Request()
    request.method = b"POST"
    request.target = target
    for name, value in headers.items():
        request.add_header(name.replace("_", "-").encode(), value)
    return request


def forwarded(request: Request, sent: bytes = b"") -> tuple[bytes, dict[bytes, bytes], bytes]:
    head, _, body = request.forwarded(b"/v1/x", sent, b"10.0.0.9", b"new-id").partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    assert len(headers) == len(lines)
    return first, headers, body


def test_headers_pass_as_they_came() -> None:
    first, headers, body = forwarded(make(Host=b"h", X_Custom=b"a, b", Authorization=b"B"), b"{}")
    assert first == b"POST /v1/x HTTP/1.1"
    assert body == b"{}"
    assert headers == {
        b"Host": b"h",
        b"X-Custom": b"a, b",
        b"Authorization": b"B",
        b"x-forwarded-for": b"10.0.0.9",
        b"x-forwarded-proto": b"http",
        b"x-forwarded-host": b"h",
        b"x-request-id": b"new-id",
        b"content-length": b"2",
    }


def test_headers_of_one_connection_stay_here() -> None:
    request = make(
        Connection=b"keep-alive, X-Secret",
        X_Secret=b"1",
        Keep_Alive=b"5",
        TE=b"trailers",
        Upgrade=b"h2c",
        Expect=b"100-continue",
        X_Kept=b"yes",
    )
    _, headers, _ = forwarded(request)
    assert headers.keys() & {b"Connection", b"X-Secret", b"Keep-Alive", b"TE", b"Upgrade"} == set()
    assert b"Expect" not in headers
    assert headers[b"X-Kept"] == b"yes"


def test_what_a_proxy_before_us_said_is_kept() -> None:
    request = make(
        Host=b"inner",
        X_Forwarded_For=b"1.2.3.4",
        X_Forwarded_Proto=b"https",
        X_Forwarded_Host=b"outer",
        X_Request_Id=b"theirs",
    )
    _, headers, _ = forwarded(request)
    assert headers[b"x-forwarded-for"] == b"1.2.3.4, 10.0.0.9"
    assert headers[b"X-Forwarded-Proto"] == b"https"
    assert headers[b"X-Forwarded-Host"] == b"outer"
    assert headers[b"X-Request-Id"] == b"theirs"
    assert b"x-request-id" not in headers


@pytest.mark.parametrize(
    ("headers", "length"),
    [({}, None), ({"Content_Length": b"0"}, b"0"), ({"Transfer_Encoding": b"chunked"}, b"0")],
)
def test_only_a_request_that_had_a_body_has_a_length(
    headers: dict[str, bytes], length: bytes | None
) -> None:
    assert forwarded(make(**headers))[1].get(b"content-length") == length


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a?b=c", b"/a?b=c"),
        (b"http://host:1/a/b?c", b"/a/b?c"),
        (b"http://host", b"/"),
        (b"*", b"*"),
    ],
)
def test_the_path_is_found_in_every_form_of_a_target(target: bytes, path: bytes) -> None:
    assert make(target).path == path


def test_a_header_is_found_by_its_lower_name() -> None:
    request = make(X_Session=b"s1", Host=b"h")
    assert request.header(b"x-session") == b"s1"
    assert request.header(b"host") == b"h"
    assert request.header(b"x-other") is None


def test_any_of_the_usual_headers_carries_the_key() -> None:
    assert make(Authorization=b"Bearer k").authorization == b"Bearer k"
    assert make(X_Api_Key=b"k").authorization == b"k"
    assert make(Api_Key=b"k").authorization == b"k"
    assert make().authorization is None
