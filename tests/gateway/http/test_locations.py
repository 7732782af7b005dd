"""URLs in a replica's response, rewritten for its client."""

from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.http.locations import LocationRewriter, replica_addresses

PORT = 41234
CLIENT = b"gw.example:8080"


def rewriter(
    prefix: bytes = b"/svc", host: str = "127.0.0.1", port: int = PORT
) -> LocationRewriter:
    return LocationRewriter(prefix, replica_addresses(host, port), frozenset({CLIENT}))


@pytest.mark.parametrize(
    ("location", "for_client"),
    [
        # a path
        (b"/v1/models", b"/svc/v1/models"),
        (b"/", b"/svc/"),
        (b"/svc/v1", b"/svc/svc/v1"),  # the path is relative to the replica
        (b"/v1?next=/a#b", b"/svc/v1?next=/a#b"),
        (b"/a?u=http://127.0.0.1:41234/", b"/svc/a?u=http://127.0.0.1:41234/"),
        # the replica itself
        (b"http://127.0.0.1:41234/v1/models", b"/svc/v1/models"),
        (b"http://127.0.0.1:41234", b"/svc/"),
        (b"http://127.0.0.1:41234?a=b", b"/svc/?a=b"),
        (b"HTTP://LocalHost:41234/v1", b"/svc/v1"),
        (b"https://[::1]:41234/v1", b"/svc/v1"),
        (b"http://0.0.0.0:41234/v1", b"/svc/v1"),
        (b"//127.0.0.1:41234/v1", b"/svc/v1"),
        (b"http://user:pass@127.0.0.1:41234/v1", b"/svc/v1"),
        (b"http://127.0.0.1:41234//evil.example/", b"/svc//evil.example/"),
        # the gateway, as the client calls it
        (b"http://gw.example:8080/v1", b"http://gw.example:8080/svc/v1"),
        (b"https://GW.example:8080/v1", b"https://gw.example:8080/svc/v1"),
        (b"//gw.example:8080/v1", b"//gw.example:8080/svc/v1"),
        # others
        (b"https://example.com/v1", b"https://example.com/v1"),
        (b"http://gw.example/v1", b"http://gw.example/v1"),
        (b"http://127.0.0.1:3000/callback", b"http://127.0.0.1:3000/callback"),
        (b"http://127.0.0.1:41234.evil.example/", b"http://127.0.0.1:41234.evil.example/"),
        (b"//example.com/x", b"//example.com/x"),
        (b"mailto:a@b", b"mailto:a@b"),
        # relative to the requested path
        (b"models/", b"models/"),
        (b"../x", b"../x"),
        (b"?page=2", b"?page=2"),
        (b"", b""),
    ],
)
def test_locations_of_a_service_by_path(location: bytes, for_client: bytes) -> None:
    assert rewriter().for_client(location) == for_client


@pytest.mark.parametrize(
    ("location", "for_client"),
    [
        (b"/v1/models", b"/v1/models"),
        (b"http://127.0.0.1:41234/v1", b"/v1"),
        (b"http://127.0.0.1:41234//evil.example/", b"/.//evil.example/"),
        (b"http://127.0.0.1:41234/\\evil.example/", b"/./\\evil.example/"),
        (b"http://127.0.0.1:41234\\evil.example/", b"/./\\evil.example/"),
        (b"http://gw.example:8080/v1", b"http://gw.example:8080/v1"),
    ],
)
def test_locations_of_a_service_by_host(location: bytes, for_client: bytes) -> None:
    assert rewriter(prefix=b"").for_client(location) == for_client


@pytest.mark.parametrize(
    ("host", "port", "location"),
    [
        ("10.0.0.7", 8000, b"http://10.0.0.7:8000/v1"),
        ("fd00::7", 8000, b"http://[fd00::7]:8000/v1"),
        ("replica.internal", 80, b"http://replica.internal/v1"),
        ("replica.internal", 80, b"http://replica.internal:80/v1"),
    ],
)
def test_locations_of_a_replica_on_another_host(host: str, port: int, location: bytes) -> None:
    assert rewriter(host=host, port=port).for_client(location) == b"/svc/v1"
    assert (
        rewriter(host=host, port=port).for_client(b"http://127.0.0.1:8000/v1")
        == b"http://127.0.0.1:8000/v1"
    )


PATHS = st.text("abc/.?#=%\\@:", max_size=12)
AUTHORITIES = st.sampled_from(["127.0.0.1:41234", "localhost:41234", "u@127.0.0.1:41234"])


@given(prefix=st.sampled_from(["", "/svc"]), authority=AUTHORITIES, path=PATHS)
def test_a_replicas_own_url_is_rewritten_to_the_gateways(
    prefix: str, authority: str, path: str
) -> None:
    """The replica's address is not disclosed."""
    location = f"http://{authority}/{path}"
    got = rewriter(prefix.encode()).for_client(location.encode()).decode()
    asked = "https://gw.example:8080/svc/v1/x"
    followed = urljoin(asked, got.replace("\\", "/"))  # as browsers read it
    assert followed.startswith("https://gw.example:8080/")
    assert "41234" not in got
