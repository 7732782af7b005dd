"""A server with OpenAI's completions API for tests: ``fake_model_server.py PORT SECONDS``.

It answers each request after SECONDS, in one streamed chunk, with correct token counts.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECONDS = float(sys.argv[2])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._reply("application/json", json.dumps({"data": [{"id": "m"}]}))

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(SECONDS)
        usage = {
            "prompt_tokens": len(request["prompt"]),
            "completion_tokens": request["max_tokens"],
        }
        chunk = {"choices": [{"text": "a", "finish_reason": "length"}]}
        events = [json.dumps(chunk), json.dumps({"choices": [], "usage": usage}), "[DONE]"]
        self._reply("text/event-stream", "".join(f"data: {event}\n\n" for event in events))

    def _reply(self, kind: str, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is logged."""


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
