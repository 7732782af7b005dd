"""A server that answers each request of a batch with its own prompt, after scripted failures."""

import json
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class BatchServer(ThreadingHTTPServer):
    """A context manager. Prompts ``fail STATUS TIMES`` get that status so often before they
    succeed; ``cut TIMES`` have their connection closed without a response."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.prompts: Counter[str] = Counter()
        self.num_busy = self.max_busy = 0
        self.lock = threading.Lock()
        self.gate = threading.Event()
        """Requests whose prompt is ``wait`` are answered once it is set."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> "BatchServer":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BatchServer

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["prompt"]
        with server.lock:
            server.prompts[prompt] += 1
            server.num_busy += 1
            server.max_busy = max(server.max_busy, server.num_busy)
        if prompt == "wait":
            server.gate.wait()
        with server.lock:
            server.num_busy -= 1
        word, *numbers = prompt.split()
        is_failing = word in ("fail", "cut") and server.prompts[prompt] <= int(numbers[-1])
        if is_failing and word == "cut":
            self.close_connection = True
            return
        self._respond(int(numbers[0]) if is_failing else 200, prompt)

    def _respond(self, status: int, prompt: str) -> None:
        body: dict[str, Any] = {"error": {"message": "scripted"}}
        if status == 200:
            usage = {"prompt_tokens": 2, "completion_tokens": 3}
            body = {"choices": [{"text": prompt}], "usage": usage}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.send_header("x-request-id", f"id of {prompt}")
        self.end_headers()
        self.wfile.write(content)

    def handle_one_request(self) -> None:
        with suppress(ConnectionError):  # the client may be gone
            super().handle_one_request()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests read no log."""
