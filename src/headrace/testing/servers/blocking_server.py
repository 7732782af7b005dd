"""A server that computes in its event loop, one request at a time.

While it is busy it does not respond, not even to /health. ``{"work_until": PATH}`` keeps the
processor busy until there is such a file, ``{"hang_until": PATH}`` only the event loop, like a
deadlock.
"""

import argparse
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m headrace.testing.servers.blocking_server")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    with socket.create_server(("127.0.0.1", parser.parse_args().port), backlog=1024) as listener:
        print(f"blocking server at http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
        server = uvicorn.Server(uvicorn.Config(_app(), log_level="warning", lifespan="off"))
        server.run(sockets=[listener])


def _app() -> Starlette:
    async def health(request: Request) -> Response:
        return JSONResponse({})

    async def compute(request: Request) -> Response:
        body: Mapping[str, str] = await request.json()
        if "work_until" in body:
            _work(Path(body["work_until"]))
        if "hang_until" in body:
            _hang(Path(body["hang_until"]))
        return JSONResponse({"pid": os.getpid()})

    return Starlette(
        routes=[Route("/health", health), Route("/v1/completions", compute, methods=["POST"])]
    )


def _work(end: Path) -> None:
    while not end.exists():
        sum(range(100_000))


def _hang(end: Path) -> None:
    while not end.exists():
        time.sleep(0.1)  # in the event loop, on purpose


if __name__ == "__main__":
    main()
