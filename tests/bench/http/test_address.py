"""Base URLs and their addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.errors import OptionError
from headrace.bench.http.address import Address, parse_address, plain_base_url


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("http://h:1", "http://h:1"),
        ("http://h:1/", "http://h:1"),
        ("http://h:1//", "http://h:1"),
        ("http://h:1/v1", "http://h:1"),
        ("http://h:1/v1/", "http://h:1"),
        ("http://h:1//v1//", "http://h:1"),
        (" http://h:1 ", "http://h:1"),
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("https://h/svc/v1", "https://h/svc"),
    ],
)
def test_addresses_as_users_write_them(written: str, plain: str) -> None:
    assert plain_base_url(written) == plain


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://a", Address("a", 80, False, "")),
        ("HTTPS://A/x/v1/", Address("a", 443, True, "/x")),
        ("http://[::1]:8000/", Address("::1", 8000, False, "")),
        ("http://a:", Address("a", 80, False, "")),
    ],
)
def test_base_urls(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        *("", "a:80", "ftp://a", "http://", "http:///x", "http://a?b=c", "http://a#b"),
        *(
            "http://a:99999",
            "http://a:0",
            "http://a:-1",
            "http://a:x",
            "http://[::1",
            "http://a..b",
        ),
        *("http://a b", "http://a/b c", "http://a/b\r\nX: y", "http://a/\x00", "http://a/ü"),
        "http://" + "a" * 64,
    ],
)
def test_invalid_base_urls_are_refused(url: str) -> None:
    with pytest.raises(OptionError):
        parse_address(url)


@pytest.mark.parametrize(
    "url", ["http://me:hush@a", "http://hush@a", "http://me:hu/hush@a", "me:hush@a:80"]
)
def test_a_password_in_the_url_is_refused_and_not_disclosed(url: str) -> None:
    with pytest.raises(OptionError) as raised:
        plain_base_url(url)
    assert "hush" not in str(raised.value)


@given(st.text())
def test_any_text_is_an_address_or_an_option_error(text: str) -> None:
    try:
        address = parse_address(plain_base_url(text))
    except OptionError:
        return
    assert 0 < address.port < 65536
    assert f"{address.host_header}{address.path}".isascii()


@pytest.mark.parametrize(
    ("host", "connect_hosts"),
    [
        ("localhost", ("127.0.0.1", "::1")),
        ("openllm.localhost", ("127.0.0.1", "::1")),
        ("A.B.LOCALHOST", ("127.0.0.1", "::1")),
        ("openllm.localhost.", ("127.0.0.1", "::1")),
        ("127.0.0.1", ("127.0.0.1",)),
        ("127.0.0.2", ("127.0.0.2",)),
        ("::1", ("::1",)),
        ("notlocalhost", ("notlocalhost",)),
        ("localhost.example.com", ("localhost.example.com",)),
    ],
)
def test_subdomains_of_localhost_are_loopback(host: str, connect_hosts: tuple[str, ...]) -> None:
    assert Address(host, 80, False, "").connect_hosts == connect_hosts


def test_the_name_is_preserved_in_the_host_header() -> None:
    assert Address("openllm.localhost", 8080, False, "").host_header == "openllm.localhost:8080"
    assert Address("::1", 8080, False, "").host_header == "[::1]:8080"
