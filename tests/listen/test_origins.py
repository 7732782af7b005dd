"""Host and Origin checks of a server without authentication."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import InvalidParameterError
from headrace.listen.origins import (
    OriginPolicy,
    check_allowed_hosts,
    check_allowed_origins,
    host_name,
    is_loopback,
)

LOOPBACK_ONLY = OriginPolicy()
LOOPBACK_HOSTS = (
    "localhost",
    "LOCALHOST:8000",
    "localhost.:8000",
    "openllm.localhost:8080",
    "127.0.0.1",
    "127.8.9.10:8000",
    "[::1]:8000",
    "[::ffff:127.0.0.1]",
)
FOREIGN_HOSTS = (
    "",
    ":8000",
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example:8000",
    "evillocalhost",
    "0.0.0.0",
    "128.0.0.1",
    "[::2]:8000",
    "[::1",
    "10.0.0.1:8000",
)


@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
def test_all_loopback_names_are_accepted(host: str) -> None:
    assert LOOPBACK_ONLY.accepts_host(host)
    assert LOOPBACK_ONLY.accepts_origin(f"http://{host.lower()}")


@pytest.mark.parametrize("host", [host for host in FOREIGN_HOSTS if host != "[::1"])
def test_other_hosts_are_refused(host: str) -> None:
    assert not LOOPBACK_ONLY.accepts_host(host)


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
@pytest.mark.parametrize("scheme", ["http://", "https://"])
def test_pages_of_other_hosts_are_refused(scheme: str, host: str) -> None:
    assert not LOOPBACK_ONLY.accepts_origin(f"{scheme}{host}")


@pytest.mark.parametrize("origin", ["null", "", "file://", "chrome-extension://abcdef", "http://"])
def test_origins_without_a_loopback_host_are_refused(origin: str) -> None:
    assert not LOOPBACK_ONLY.accepts_origin(origin)


def test_requests_without_the_headers_are_accepted() -> None:
    assert LOOPBACK_ONLY.accepts_host(None)
    assert LOOPBACK_ONLY.accepts_origin(None)


def test_allowed_hosts_and_their_origins_are_accepted() -> None:
    policy = OriginPolicy(allowed_hosts=("llm.example.com", "*.Team.example"))
    assert policy.accepts_host("LLM.example.com:443")
    assert policy.accepts_host("a.b.team.example")
    assert policy.accepts_origin("https://llm.example.com")
    assert not policy.accepts_host("team.example")
    assert not policy.accepts_host(".team.example")
    assert not policy.accepts_host("example.com")
    assert OriginPolicy(allowed_hosts=("*",)).accepts_host("evil.example")


def test_allowed_origins_are_compared_with_scheme_and_port() -> None:
    policy = OriginPolicy(allowed_origins=("https://app.example.com", "http://app.example.com:81"))
    assert policy.accepts_origin("https://APP.example.com")
    assert policy.accepts_origin("http://app.example.com:81")
    assert not policy.accepts_origin("http://app.example.com")
    assert not policy.accepts_origin("https://app.example.com:444")
    assert not policy.accepts_host("app.example.com")
    assert OriginPolicy(allowed_origins=("*",)).accepts_origin("null")


@given(st.text(max_size=40))
def test_any_header_is_accepted_or_refused(header: str) -> None:
    assert LOOPBACK_ONLY.accepts_host(header) == is_loopback(host_name(header))
    LOOPBACK_ONLY.accepts_origin(header)
    LOOPBACK_ONLY.accepts_origin(f"http://{header}")


@pytest.mark.parametrize(
    "host", ["example.com", "*.example.com", "*", "Example.COM", "10.0.0.1", "fe80::1", "[fe80::1]"]
)
def test_names_and_addresses_can_be_allowed(host: str) -> None:
    check_allowed_hosts("allowed_hosts", [host])
    header = f"[{host.strip('[]')}]:8000" if "::" in host else host.replace("*", "a") + ":8000"
    assert OriginPolicy((host,)).accepts_host(header)


@pytest.mark.parametrize(
    "host", ["", "http://example.com", "example.com:8000", "example.com/", "*example.com", "a b"]
)
def test_a_value_that_no_host_header_matches_is_refused(host: str) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        check_allowed_hosts("allowed_hosts", ["good.example", host])
    assert refused.value.param == "allowed_hosts"


@pytest.mark.parametrize(
    "origin",
    [
        *("https://example.com", "http://example.com:8000", "http://[fe80::1]:80", "*", "null"),
        *("HTTP://Example.com/", "chrome-extension://abcdef"),
    ],
)
def test_origins_can_be_allowed(origin: str) -> None:
    check_allowed_origins("allowed_origins", [origin])
    header = "https://any.example" if origin == "*" else origin.rstrip("/").lower()
    assert OriginPolicy((), (origin,)).accepts_origin(header)


@pytest.mark.parametrize(
    "origin", ["", "example.com", "https://", "https://example.com/page", "http://*.com", "//a"]
)
def test_a_value_that_no_origin_header_matches_is_refused(origin: str) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        check_allowed_origins("allowed_origins", ["http://good.example", origin])
    assert refused.value.param == "allowed_origins"
