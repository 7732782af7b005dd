"""A server that some requests crash, as a bug in a kernel or a parser would.

A POST's body says what becomes of the server:

    {"end": "exit"}    it exits, without an answer
    {"end": "error"}   it answers with 500 and exits a little later, as servers do whose engine died
    {"end": "stream"}  the same in the middle of a stream, with an error event
    {"hold": PATH}     it answers when there is such a file
    anything else      it answers with its process id

Each end is a line in a file, which tests count.
"""

import argparse
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

EXIT_DELAY_S = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m headrace.testing.servers.mortal_server")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--ends", type=Path, required=True, help="file with a line for each end")
    given = parser.parse_args()
    with _Server(given.port, given.ends) as server:
        print(f"mortal server at http://127.0.0.1:{server.server_port}/v1", flush=True)
        server.serve_forever()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, ends: Path) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self._ends = ends

    def end(self, delay_s: float = 0.0) -> None:
        with self._ends.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if delay_s:
            threading.Timer(delay_s, os._exit, (1,)).start()
        else:
            os._exit(1)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer(200, {})

    def do_POST(self) -> None:
        asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "hold" in asked:
            path = Path(asked["hold"])
            while not path.exists():
                time.sleep(0.01)
        match asked.get("end"):
            case "exit":
                self.server.end()
            case "error":
                self.server.end(EXIT_DELAY_S)
                self._answer(500, {"error": {"message": "The engine died."}})
            case "stream":
                self._stream()
                self.server.end(EXIT_DELAY_S)
            case _:
                self._answer(200, {"pid": os.getpid()})

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in ('{"text":"a"}', '{"error":{"message":"The engine died."}}', "[DONE]"):
            data = f"data: {event}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")


if __name__ == "__main__":
    main()
