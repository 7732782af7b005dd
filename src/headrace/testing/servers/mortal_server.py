"""A server that some requests crash, as a bug in a kernel or a parser would.

The body of a POST selects what happens:

    {"end": "exit"}    the server exits without a response
    {"end": "error"}   it responds with 500 and exits shortly after, as servers whose engine died do
    {"end": "stream"}  the same in the middle of a stream, with an error event
    {"hold": PATH}     it responds once this file exists
    anything else      it responds with its process id

Each crash is a line in a file, which tests count.
"""

import argparse
import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

EXIT_DELAY_S = 0.3
_ERROR = '{"error":{"message":"The engine died."}}'


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m headrace.testing.servers.mortal_server")
    parser.add_argument("--port", type=int, required=True, help="0: any free port")
    parser.add_argument("--ends", type=Path, required=True, help="file with a line for each crash")
    given = parser.parse_args()
    with socket.create_server(("127.0.0.1", given.port), backlog=256) as listener:
        print(f"mortal server at http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
        app = _Mortal(given.ends).app()
        config = uvicorn.Config(
            app, log_level="critical", lifespan="off", timeout_graceful_shutdown=0
        )
        uvicorn.Server(config).run(sockets=[listener])


class _Mortal:
    def __init__(self, ends: Path) -> None:
        self._ends = ends

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/{path:path}", self._health, methods=["GET"]),
                Route("/{path:path}", self._complete, methods=["POST"]),
            ]
        )

    async def _health(self, request: Request) -> Response:
        return JSONResponse({})

    async def _complete(self, request: Request) -> Response:
        body: dict[str, Any] = await request.json()
        if "hold" in body:
            path = Path(body["hold"])
            while not path.exists():
                await asyncio.sleep(0.01)
        match body.get("end"):
            case "exit":
                self._crash()
            case "error":
                self._crash(EXIT_DELAY_S)
                return Response(_ERROR, 500, media_type="application/json")
            case "stream":
                return StreamingResponse(self._events(), media_type="text/event-stream")
        return JSONResponse({"pid": os.getpid()})

    async def _events(self) -> AsyncIterator[str]:
        for event in ('{"text":"a"}', _ERROR, "[DONE]"):
            yield f"data: {event}\n\n"
        self._crash(EXIT_DELAY_S)

    def _crash(self, delay_s: float = 0.0) -> None:
        with self._ends.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if delay_s:
            threading.Timer(delay_s, os._exit, (1,)).start()
        else:
            os._exit(1)


if __name__ == "__main__":
    main()
