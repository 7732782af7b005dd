import socket

import pytest

from headrace.control.errors import LaunchError
from headrace.control.processes.ports import find_free_port


def test_gives_ports_that_can_be_bound_and_are_not_taken() -> None:
    first = find_free_port()
    second = find_free_port({first})
    assert first != second
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", second))


def test_prefers_a_port_only_while_it_is_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert find_free_port(preferred=port) != port
    assert find_free_port(preferred=port) == port
    assert find_free_port({port}, preferred=port) != port


def test_tells_when_there_is_none() -> None:
    with pytest.raises(LaunchError, match="No free port"):
        find_free_port(range(65536))
