"""A fault in one request does not affect other requests.

Hostile requests are made from the schema that the server itself publishes: each field at its
extremes, then fields together. Beside them streams run whose bytes must be those of a server that
has nothing else to do.
"""

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from headrace.testing.extreme_values import Schema, extreme_values, object_text
from headrace.testing.models.tiny_models import VOCAB_SIZE, write_tiny_model
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request, stream

DAMAGED = VOCAB_SIZE - 1
"""After this token the model computes NaN."""

BASES: Mapping[str, Mapping[str, str]] = {
    "/v1/completions": {"prompt": '"the water of the mill"', "max_tokens": "4"},
    "/v1/chat/completions": {
        "messages": '[{"role":"user","content":"the water of the mill"}]',
        "max_tokens": "4",
    },
    "/v1/responses": {"input": '"the water of the mill"', "max_output_tokens": "4"},
    "/v1/messages": {
        "messages": '[{"role":"user","content":"the water of the mill"}]',
        "max_tokens": "4",
    },
    "/v1/messages/count_tokens": {
        "messages": '[{"role":"user","content":"the water of the mill"}]',
    },
    "/tokenize": {"messages": '[{"role":"user","content":"the water of the mill"}]'},
    "/detokenize": {"tokens": "[5,6,7]"},
}
"""A valid body for each path; hostile requests change some of its fields."""
LEFT_OUT = re.compile("/invocations|/batch$|embeddings|pooling|classify|score|rerank")
"""Paths whose fields are those of other paths, and those of models for other tasks."""

MAX_READ_S = 0.25
"""The client disconnects from a response that takes longer."""
NUM_CLIENTS = 4

GOOD: list[dict[str, Any]] = [
    {"prompt": "the water of the mill", "max_tokens": 60, "seed": 1},
    {"prompt": "the wheel turns", "max_tokens": 90, "temperature": 0, "logprobs": 2},
    {"prompt": [5, 6, 7], "max_tokens": 60, "seed": 3, "top_p": 0.9, "frequency_penalty": 0.5},
    {"prompt": "the stone", "max_tokens": 200, "seed": 4, "n": 2, "stop": ["zzz", "the the the"]},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("tiny")
    write_tiny_model(directory, damaged_token_id=DAMAGED)
    arguments = ("--dtype", "float32", "--kv-cache-memory", "4MB", "--num-threads", "2")
    with ServerProcess(str(directory), *arguments, start_timeout_s=120.0) as process:
        yield process


@pytest.fixture(scope="module")
def schemas(server: ServerProcess) -> Mapping[str, Mapping[str, Schema]]:
    """The schemas of the fields of each path's body."""
    openapi = request(server.url, "GET", "/openapi.json").json
    found = {}
    for path, methods in openapi["paths"].items():
        if "requestBody" in methods.get("post", {}) and not LEFT_OUT.search(path):
            reference = methods["post"]["requestBody"]["content"]["application/json"]["schema"]
            name = reference["$ref"].rsplit("/", 1)[1]
            found[path] = openapi["components"]["schemas"][name]["properties"]
    return found


def events(server: ServerProcess, body: Mapping[str, Any]) -> dict[int | None, list[bytes]]:
    """The events of a valid request's stream by choice, without ids and times: how
    choices are interleaved is not specified."""
    good = {**body, "stream": True, "ignore_eos": True, "logit_bias": {str(DAMAGED): -100}}
    response = post(server.url, "/v1/completions", good)
    assert response.status == 200, response.body
    by_choice: dict[int | None, list[bytes]] = {}
    for event in response.body.split(b"\n\n"):
        chunk = json.loads(event[6:]) if event.startswith(b"data: {") else {"choices": []}
        index = chunk["choices"][0]["index"] if chunk["choices"] else None
        own = re.sub(rb'"id":"cmpl-[0-9a-f]+"|"created":[0-9]+', b"", event)
        by_choice.setdefault(index, []).append(own)
    return by_choice


class GoodStreams:
    """Repeats valid requests in threads and compares their responses."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._expected = [events(server, body) for body in GOOD]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[i]) for i in range(len(GOOD))]
        self.num_same = [0] * len(GOOD)
        self.failures: list[str] = []

    def __enter__(self) -> "GoodStreams":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, index: int) -> None:
        while not self._stop.is_set() and not self.failures:
            try:
                content = events(self._server, GOOD[index])
            except Exception as error:
                self.failures.append(f"{GOOD[index]}: {error!r}")
                return
            if content != self._expected[index]:
                self.failures.append(f"{GOOD[index]}: {content!r}, not {self._expected[index]!r}")
            self.num_same[index] += 1


@dataclass
class Reply:
    status: int | None
    """None: no response in time."""
    content: bytes

    def check(self) -> None:
        """Whether the response is a success, a client error or the documented request_failed."""
        if self.status is None:
            return
        errors = []
        if self.status != 200:
            errors.append(json.loads(self.content)["error"])
        elif self.content.startswith(b"data: "):
            lines = [line[6:] for line in self.content.splitlines() if line.startswith(b"data: ")]
            chunks = [json.loads(line) for line in lines if line != b"[DONE]"]
            errors += [chunk["error"] for chunk in chunks if "error" in chunk]
        for error in errors:
            if error["type"] == "server_error":
                assert error["code"] == "request_failed", error
        assert self.status in (200, 500) or 400 <= self.status < 500, self


def send(server: ServerProcess, path: str, fields: Mapping[str, str]) -> Reply:
    """The response to a hostile request, or None if the client disconnected first."""
    body = object_text({**BASES[path], **fields}).encode()
    json_type = {"Content-Type": "application/json"}
    deadline = time.monotonic() + MAX_READ_S
    content = b""
    try:
        with stream(server.url, "POST", path, body, json_type, timeout_s=MAX_READ_S) as response:
            for chunk in response.iter_raw():
                content += chunk
                if time.monotonic() > deadline:
                    return Reply(None, b"")
            return Reply(response.status_code, content)
    except TimeoutError:
        return Reply(None, b"")


Probe = tuple[str, str]
"""A field and its value, as a JSON text."""


def test_a_fault_in_one_request_does_not_affect_others(
    server: ServerProcess, schemas: Mapping[str, Mapping[str, Schema]]
) -> None:
    definitions = request(server.url, "GET", "/openapi.json").json["components"]["schemas"]
    assert schemas.keys() == BASES.keys()
    with GoodStreams(server) as good:
        accepted = {
            path: probe_each_field(server, path, fields, definitions)
            for path, fields in schemas.items()
        }
        assert all(accepted.values())
        send_together(server, accepted)
        damaged = send(server, "/v1/completions", {"prompt": f"[5,{DAMAGED}]", "stream": "true"})
    assert good.failures == []
    assert min(good.num_same) > 0
    assert damaged.status == 500
    assert json.loads(damaged.content)["error"]["code"] == "request_failed"

    assert request(server.url, "GET", "/health").status == 200
    deadline = time.monotonic() + 30.0
    while any(gauges(server).values()):
        assert time.monotonic() < deadline, gauges(server)
        time.sleep(0.02)
    assert "Traceback" not in server.output


def probe_each_field(
    server: ServerProcess,
    path: str,
    fields: Mapping[str, Schema],
    definitions: Mapping[str, Schema],
) -> list[Probe]:
    """Send each field at each of its extremes; returns the accepted ones."""
    probes = [
        (name, value)
        for name, schema in fields.items()
        for value in extreme_values(schema, definitions)
    ]

    def taken(probe: Probe) -> bool:
        reply = send(server, path, dict([probe]))
        reply.check()
        return reply.status in (200, None)

    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        return [probe for probe, ok in zip(probes, pool.map(taken, probes), strict=True) if ok]


def send_together(server: ServerProcess, accepted: Mapping[str, list[Probe]]) -> None:
    """Several accepted fields at once, which reach the engine."""
    requests = st.sampled_from(sorted(accepted)).flatmap(
        lambda path: st.tuples(
            st.just(path),
            st.lists(
                st.sampled_from(accepted[path]),
                min_size=2,
                max_size=12,
                unique_by=lambda probe: probe[0],
            ),
        )
    )

    @settings(max_examples=100, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(requests)
    def send_one(drawn: tuple[str, list[Probe]]) -> None:
        path, probes = drawn
        send(server, path, dict(probes)).check()

    send_one()


def gauges(server: ServerProcess) -> dict[str, float]:
    text = request(server.url, "GET", "/metrics").body.decode()
    names = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
    return {
        name: float(re.findall(rf"^vllm:{name}{{.*}} (\S+)$", text, re.MULTILINE)[0])
        for name in names
    }
