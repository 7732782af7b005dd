"""Binding the address before anything else."""

import socket

import pytest

from headrace.core.errors import HeadraceError
from headrace.listen.sockets import base_url, bind


def test_port_zero_takes_a_free_one() -> None:
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        assert base_url(sock) == f"http://127.0.0.1:{port}"


def test_every_interface_is_shown_as_this_machine() -> None:
    with bind("0.0.0.0", 0) as sock:
        assert base_url(sock).startswith("http://127.0.0.1:")


def test_nothing_listens_until_the_server_does() -> None:
    with bind("127.0.0.1", 0) as sock, pytest.raises(ConnectionRefusedError):
        socket.create_connection(sock.getsockname(), timeout=60.0)


def test_a_port_just_left_can_be_taken_again() -> None:
    with bind("127.0.0.1", 0) as sock:
        address = sock.getsockname()
        sock.listen()
        client = socket.create_connection(address, timeout=60.0)
        server, _ = sock.accept()
        server.close()  # the side that closes first keeps the port in TIME_WAIT
        client.close()
    bind(*address).close()


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("127.0.0.1", 70000, "between 0 and 65535"),
        ("127.0.0.1", -1, "between 0 and 65535"),
        ("203.0.113.1", 0, "not an address of this machine"),
        ("no such host", 0, "There is no address"),
    ],
)
def test_what_cannot_be_bound_says_why(host: str, port: int, message: str) -> None:
    with pytest.raises(HeadraceError, match=message):
        bind(host, port)


def test_a_taken_port_says_so() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(HeadraceError, match="is in use"),
    ):
        bind(*taken.getsockname())
