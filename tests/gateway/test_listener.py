"""Listening sockets: connections during a hand-over."""

import asyncio
import socket
import sys

import pytest

from headrace.gateway.listener import Listener, _prefer_successor, bind

NUM_CONNECTIONS = 64


def accepted(sock: socket.socket) -> int:
    """Connections in its backlog."""
    sock.setblocking(False)
    num = 0
    while True:
        try:
            connection, _ = sock.accept()
        except BlockingIOError:
            return num
        connection.close()
        num += 1


def connect_many(port: int) -> None:
    for _ in range(NUM_CONNECTIONS):
        socket.create_connection(("127.0.0.1", port)).close()


@pytest.mark.skipif(sys.platform != "linux", reason="BPF programs are Linux's")
def test_new_connections_are_the_successors() -> None:
    with bind("127.0.0.1", 0, False) as old:
        port = old.getsockname()[1]
        old.listen(NUM_CONNECTIONS)
        assert _prefer_successor(old)
        connect_many(port)
        assert accepted(old) == NUM_CONNECTIONS  # there is no successor yet
        with bind("127.0.0.1", port, True) as new:
            new.listen(NUM_CONNECTIONS)
            connect_many(port)
            assert (accepted(old), accepted(new)) == (0, NUM_CONNECTIONS)
            old.close()
            connect_many(port)
            assert accepted(new) == NUM_CONNECTIONS
            with bind("127.0.0.1", port, True) as third:  # and so on
                third.listen(NUM_CONNECTIONS)
                assert _prefer_successor(new)
                connect_many(port)
                assert (accepted(new), accepted(third)) == (0, NUM_CONNECTIONS)


def test_the_backlog_is_accepted_before_the_socket_is_closed() -> None:
    class Counted(asyncio.Protocol):
        num = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            Counted.num += 1
            transport.close()

    async def scenario() -> None:
        sock = bind("127.0.0.1", 0, False)
        listener = Listener(asyncio.get_running_loop(), sock, Counted, None)
        await listener.start()
        port = sock.getsockname()[1]
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(NUM_CONNECTIONS)]
        await listener.stop()
        assert Counted.num == NUM_CONNECTIONS
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        for client in clients:
            client.close()

    asyncio.run(scenario())
