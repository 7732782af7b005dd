"""``python -m headrace.testing.servers.mock_server``: one mock server in a process of its own.

It listens, prints its address, and drains at SIGTERM.
"""

import asyncio
import signal
import sys

import uvloop

from headrace.testing.servers.mock_server.config import MockConfig, parse_arguments
from headrace.testing.servers.mock_server.connection import Connection, Mock


def main() -> int:
    config = parse_arguments()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config))
    except OSError as error:
        print(f"Cannot listen on {config.host} port {config.port}: {error}.", file=sys.stderr)
        return 1
    return 0


async def _serve(config: MockConfig) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    mock = Mock(config, loop)
    server = await loop.create_server(
        lambda: Connection(mock), config.host, config.port, backlog=4096
    )
    port = server.sockets[0].getsockname()[1]
    print(f"mock server at http://{config.host}:{port}/v1", flush=True)
    await stop.wait()

    server.close()
    mock.is_draining = True
    for connection in list(mock.connections):
        connection.close_if_idle()
    ended = asyncio.Event()
    mock.on_connection_lost = lambda: ended.set() if not mock.connections else None
    if mock.connections:
        await ended.wait()


if __name__ == "__main__":
    sys.exit(main())
