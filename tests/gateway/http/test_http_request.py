"""The request head that a replica gets."""

import pytest

from headrace.gateway.http.http_request import MAX_JOINED_BYTES, Peer, Request

REPLICA = b"127.0.0.1:41234"
CLIENT = Peer(b"10.0.0.9")
PROXY = Peer(b"127.0.0.1", is_trusted=True)


def make(target: bytes = b"/v1/x", **headers: bytes) -> Request:
    request = Request()
    request.method = b"POST"
    request.target = target
    for name, value in headers.items():
        request.add_header(name.replace("_", "-").encode(), value)
    return request


def forwarded(
    request: Request, sent: bytes = b"", peer: Peer = CLIENT
) -> tuple[bytes, dict[bytes, bytes], bytes]:
    whole = request.forwarded(b"/v1/x", REPLICA, sent, peer, b"new-id")
    head, _, body = whole.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    assert len(headers) == len(lines)
    return first, headers, body


def test_headers_are_forwarded_unchanged() -> None:
    first, headers, body = forwarded(make(Host=b"h", X_Custom=b"a, b", Authorization=b"B"), b"{}")
    assert first == b"POST /v1/x HTTP/1.1"
    assert body == b"{}"
    assert headers == {
        b"host": REPLICA,
        b"X-Custom": b"a, b",
        b"Authorization": b"B",
        b"x-forwarded-for": b"10.0.0.9",
        b"x-forwarded-proto": b"http",
        b"x-forwarded-host": b"h",
        b"x-request-id": b"new-id",
        b"content-length": b"2",
    }


def test_hop_by_hop_headers_are_removed() -> None:
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


FROM_A_PROXY = {
    "Host": b"inner",
    "X_Forwarded_For": b"1.2.3.4",
    "X_Forwarded_Proto": b"https",
    "X_Forwarded_Host": b"outer",
    "X_Request_Id": b"theirs",
}


def test_forwarded_headers_from_loopback_are_trusted() -> None:
    _, headers, _ = forwarded(make(**FROM_A_PROXY), peer=PROXY)
    assert headers[b"x-forwarded-for"] == b"1.2.3.4, 127.0.0.1"
    assert headers[b"x-forwarded-proto"] == b"https"
    assert headers[b"x-forwarded-host"] == b"outer"
    assert headers[b"X-Request-Id"] == b"theirs"
    assert b"x-request-id" not in headers


def test_forwarded_headers_from_other_clients_are_replaced() -> None:
    _, headers, _ = forwarded(make(**FROM_A_PROXY))
    assert headers[b"x-forwarded-for"] == b"1.2.3.4, 10.0.0.9"
    assert headers[b"x-forwarded-proto"] == b"http"
    assert headers[b"x-forwarded-host"] == b"inner"
    assert headers[b"X-Request-Id"] == b"theirs"


def test_a_tls_connection_sets_x_forwarded_proto() -> None:
    headers = forwarded(make(Host=b"h"), peer=Peer(b"10.0.0.9", b"https"))[1]
    assert headers[b"x-forwarded-proto"] == b"https"


def test_origin_and_host_of_the_client_are_not_forwarded() -> None:
    _, headers, _ = forwarded(make(Host=b"evil.example", Origin=b"http://evil.example"))
    assert headers[b"host"] == REPLICA
    assert [name for name in headers if name.lower() == b"host"] == [b"host"]
    assert b"Origin" not in headers


@pytest.mark.parametrize(
    ("headers", "length"),
    [({}, None), ({"Content_Length": b"0"}, b"0"), ({"Transfer_Encoding": b"chunked"}, b"0")],
)
def test_content_length_is_sent_only_with_a_body(
    headers: dict[str, bytes], length: bytes | None
) -> None:
    assert forwarded(make(**headers))[1].get(b"content-length") == length


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a?b=c", b"/a?b=c"),
        (b"http://host:1/a/b?c", b"/a/b?c"),
        (b"http://host", b"/"),
        (b"http://host?a=/b", b"/?a=/b"),
        (b"*", b"*"),
    ],
)
def test_every_form_of_request_target_has_a_path(target: bytes, path: bytes) -> None:
    assert make(target).path == path


def test_an_absolute_targets_host_overrides_the_header() -> None:
    request = make(b"http://other:1/v1/x", Host=b"svc")
    assert request.host == b"other:1"
    _, headers, _ = forwarded(request)
    assert headers[b"host"] == REPLICA
    assert headers[b"x-forwarded-host"] == b"other:1"
    assert b"Host" not in headers


def test_replicas_get_exactly_one_host() -> None:
    assert forwarded(make())[1][b"host"] == REPLICA
    assert b"x-forwarded-host" not in forwarded(make())[1]


def test_the_connection_header_cannot_remove_required_headers() -> None:
    request = make(
        Host=b"h",
        Connection=b"host, x-request-id, x-forwarded-host, x-forwarded-for, content-length",
        X_Request_Id=b"1",
        X_Forwarded_Host=b"outer",
        X_Forwarded_For=b"1.2.3.4",
    )
    _, headers, _ = forwarded(request, b"{}", PROXY)
    assert headers[b"host"] == REPLICA
    assert headers[b"X-Request-Id"] == b"1"
    assert headers[b"x-forwarded-host"] == b"outer"
    assert headers[b"x-forwarded-for"] == b"1.2.3.4, 127.0.0.1"
    assert headers[b"content-length"] == b"2"


@pytest.mark.parametrize(("accepts_chunked", "version"), [(True, b"1.1"), (False, b"1.0")])
def test_a_request_without_its_upgrade_is_otherwise_unchanged(
    accepts_chunked: bool, version: bytes
) -> None:
    request = make(
        b"/a",
        Host=b"h",
        Connection=b"Upgrade, HTTP2-Settings",
        Upgrade=b"h2c",
        HTTP2_Settings=b"AAMA",
        Content_Length=b"2",
        Authorization=b"Bearer k",
        Origin=b"http://o",
        X_Forwarded_Host=b"f",
        X_Forwarded_Proto=b"https",
        Accept=b"a",
    )
    request.accepts_chunked = accepts_chunked
    assert request.without_upgrade() == (
        b"POST /a HTTP/%b\r\nAccept: a\r\nAuthorization: Bearer k\r\nhost: h\r\n"
        b"origin: http://o\r\ncontent-length: 2\r\nx-forwarded-host: f\r\n"
        b"x-forwarded-proto: https\r\nconnection: keep-alive\r\n\r\n" % version
    )


def test_an_http_1_0_client_gets_no_100_continue() -> None:
    request = make(Expect=b"100-continue")
    assert request.expects_continue
    request.accepts_chunked = False
    assert not request.expects_continue


def test_headers_are_looked_up_case_insensitively() -> None:
    request = make(X_Session=b"s1", Host=b"h")
    assert request.header(b"x-session") == b"s1"
    assert request.header(b"host") == b"h"
    assert request.header(b"x-other") is None


CREDENTIALS = {
    "Authorization": b"Bearer theirs",
    "X_Api_Key": b"ours",
    "Api_Key": b"other",
}


def test_credentials_are_read_and_forwarded() -> None:
    request = make(**CREDENTIALS)
    assert [value for _, value in request.credentials] == list(CREDENTIALS.values())
    headers = forwarded(request)[1]
    assert headers[b"Authorization"] == b"Bearer theirs"
    assert headers[b"X-Api-Key"] == b"ours"
    assert headers[b"Api-Key"] == b"other"


def test_a_removed_credential_is_not_forwarded() -> None:
    request = make(**CREDENTIALS)
    request.drop_credentials([one for one in request.credentials if one[1] == b"ours"])
    headers = forwarded(request)[1]
    assert b"X-Api-Key" not in headers
    assert headers[b"Authorization"] == b"Bearer theirs"
    assert headers[b"Api-Key"] == b"other"


def test_the_connection_header_can_remove_a_credential() -> None:
    headers = forwarded(make(**CREDENTIALS, Connection=b"authorization"))[1]
    assert b"Authorization" not in headers
    assert b"X-Api-Key" in headers


@pytest.mark.parametrize("name", [b"te", b"authorization", b"x-forwarded-for", b"origin"])
def test_joined_headers_are_limited(name: bytes) -> None:
    """Repeated joins would take quadratic time."""
    request = make()
    for _ in range(50_000):
        request.add_header(name, b"x" * 10)
    assert len(request.inspected[name]) < 2 * MAX_JOINED_BYTES
    assert request.repeats_too_much


@pytest.mark.parametrize(
    "name",
    [
        *("Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization"),
        *("Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"),
    ],
)
def test_hop_by_hop_headers_are_not_forwarded(name: str) -> None:
    headers = forwarded(make(**{name: b"close"}))[1]
    assert name.lower() not in [kept.decode().lower() for kept in headers]


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "Api-Key", "X-Api-Key", "X-Request-Id", "Accept", "Cookie"),
        *("X-Forwarded-Prefix", "Forwarded", "Referer"),
    ],
)
def test_end_to_end_headers_are_forwarded_once_and_unchanged(name: str) -> None:
    head = make(**{name: b"mine"}).forwarded(b"/v1/x", REPLICA, b"", CLIENT, b"new-id")
    lines = [line for line in head.split(b"\r\n") if line.lower().startswith(name.lower().encode())]
    assert lines == [f"{name}: mine".encode()]


def test_repeated_headers_are_joined() -> None:
    request = make(X_Forwarded_For=b"1.2.3.4", Accept=b"a")
    request.add_header(b"x-forwarded-for", b"5.6.7.8")
    request.add_header(b"Accept", b"b")
    head = request.forwarded(b"/v1/x", REPLICA, b"", CLIENT, b"new-id")
    assert b"x-forwarded-for: 1.2.3.4, 5.6.7.8, 10.0.0.9\r\n" in head
    assert b"Accept: a\r\nAccept: b\r\n" in head


def test_a_request_can_be_rewritten_for_another_path() -> None:
    request = make(Host=b"h")
    for path, address in ((b"/a", b"h:1"), (b"/b", b"h:1"), (b"/a", b"h:1"), (b"/a", b"h:2")):
        head = request.forwarded(path, address, b"", CLIENT, b"id")
        assert head.startswith(b"POST %b HTTP/1.1\r\nhost: %b\r\n" % (path, address))
        assert head.endswith(b"x-request-id: id\r\n\r\n")


def test_an_unread_request_has_no_properties() -> None:
    request = Request()
    assert (request.method, request.target, request.lines) == (b"", b"", [])
    assert request.accepts_chunked
    assert not request.is_last
    assert not request.is_head
    assert not request.has_connection_header
    assert request.host is None
    assert request.content_length is None


def test_method_head_and_connection_options_are_parsed() -> None:
    request = make(Connection=b"close")
    assert request.has_connection_header
    assert not request.is_head
    request.method = b"HEAD"
    assert request.is_head


@pytest.mark.parametrize(
    ("headers", "length", "is_long"),
    [
        ({}, None, False),
        ({"Content_Length": b"10"}, 10, False),
        ({"Content_Length": b"11"}, 11, True),
        ({"Transfer_Encoding": b"chunked"}, None, True),
    ],
)
def test_a_body_of_unknown_length_counts_as_long(
    headers: dict[str, bytes], length: int | None, is_long: bool
) -> None:
    request = make(**headers)
    assert request.content_length == length
    assert request.is_longer_than(10) is is_long


@pytest.mark.parametrize(
    ("expected", "continues"), [(b"100-Continue", True), (b"200-ok", False), (None, False)]
)
def test_only_expect_100_continue_waits_for_it(expected: bytes | None, continues: bool) -> None:
    request = make() if expected is None else make(Expect=expected)
    assert request.expects_continue is continues


@pytest.mark.parametrize(
    ("protocol", "wants"), [(b"WebSocket", True), (b"h2c", False), (None, False)]
)
def test_websocket_upgrades_are_distinguished_from_others(
    protocol: bytes | None, wants: bool
) -> None:
    request = make() if protocol is None else make(Upgrade=protocol)
    assert request.wants_websocket is wants


def test_removing_the_upgrade_rewrites_the_head() -> None:
    request = make(
        b"/a",
        Connection=b"Upgrade",
        Upgrade=b"h2c",
        Transfer_Encoding=b"chunked",
        Expect=b"100-continue",
        X_Forwarded_For=b"1.2.3.4",
    )
    request.is_last = True
    assert request.without_upgrade() == (
        b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n"
        b"x-forwarded-for: 1.2.3.4\r\nconnection: close\r\n\r\n"
    )
