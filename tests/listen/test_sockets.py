"""Binding the listening socket."""

import socket

import pytest

from headrace.listen.sockets import ListenError, base_url, bind


def test_port_zero_selects_a_free_port() -> None:
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        assert base_url(sock) == f"http://127.0.0.1:{port}"


def test_the_url_of_all_interfaces_is_loopback() -> None:
    with bind("0.0.0.0", 0) as sock:
        assert base_url(sock).startswith("http://127.0.0.1:")


def test_binding_does_not_listen() -> None:
    with bind("127.0.0.1", 0) as sock, pytest.raises(ConnectionRefusedError):
        socket.create_connection(sock.getsockname(), timeout=60.0)


def test_a_port_can_be_reused_at_once() -> None:
    with bind("127.0.0.1", 0) as sock:
        address = sock.getsockname()
        sock.listen()
        client = socket.create_connection(address, timeout=60.0)
        server, _ = sock.accept()
        server.close()  # the side that closes first has the port in TIME_WAIT
        client.close()
    bind(*address).close()


@pytest.mark.parametrize(
    ("host", "port", "code"),
    [
        ("127.0.0.1", 70000, "invalid_port"),
        ("127.0.0.1", -1, "invalid_port"),
        ("203.0.113.1", 0, "address_not_available"),
        ("no such host", 0, "unknown_host"),
    ],
)
def test_an_address_that_cannot_be_bound_has_an_error_code(host: str, port: int, code: str) -> None:
    with pytest.raises(ListenError) as refused:
        bind(host, port)
    assert refused.value.code == code


def test_a_port_in_use() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ListenError) as refused,
    ):
        bind(*taken.getsockname())
    assert refused.value.code == "address_in_use"
