"""What the gateway records of requests, over real sockets: records, metrics and log lines."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.core.gateway.request_records import PhaseName, RequestRecord, timeline
from headrace.core.gateway.routes import Limits, ReplicaRoute, ServiceRoute, TargetRoute
from headrace.gateway.keys import hash_key
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess
from headrace.testing.raw_http import post, request
from headrace.testing.servers.scripted_replica import Peer, Script, ScriptedReplica, connect

Route = Callable[..., str]
StartMock = Callable[..., MockServerProcess]

DEADLINE_S = 60.0
TEXT = "a text that nobody else may read"
KEY = "hrk-a-key-that-nobody-else-may-read"
CHAT = "/v1/chat/completions"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def chat(**fields: object) -> dict[str, object]:
    return {"model": "mock", "messages": [{"role": "user", "content": TEXT}], **fields}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def raw_post(service: str) -> bytes:
    return b"POST /%b/v1/x HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}" % service.encode()


def records_of(gateway: GatewayProcess, service: str, number: int = 1) -> list[RequestRecord]:
    """Once there are so many."""
    deadline = time.monotonic() + DEADLINE_S
    while len(records := gateway.requests(service=service)) < number:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(records) == number
    return records


def metric(gateway: GatewayProcess, name: str, **labels: str) -> float:
    """The sum over all samples with these labels."""
    text = request(gateway.admin_url, "GET", "/metrics").body.decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"headrace_gateway_{name}" and labels.items() <= sample.labels.items()
    )


def check_times(record: RequestRecord) -> None:
    assert time.time() - DEADLINE_S * 10 < record.arrived_at <= time.time()
    phases = timeline(record)
    assert sum(phase.end_s - phase.begin_s for phase in phases) == pytest.approx(record.total_s)
    queued_s = sum(one.end_s - one.begin_s for one in phases if one.name is PhaseName.QUEUE)
    assert queued_s == pytest.approx(record.queued_s, abs=0.01)
    if record.ttft_s is not None:
        assert 0 < record.ttft_s <= record.total_s


def test_a_response_is_recorded_with_its_usage_and_without_text(
    gateway: GatewayProcess, mock: MockServerProcess, route: Route
) -> None:
    name = route(mock.route, key_hashes=(hash_key(KEY.encode()),), key_names=("laptop",))
    headers = {"Authorization": f"Bearer {KEY}", "X_Request_Id": "id-of-the-client"}
    url = f"http://127.0.0.1:{gateway.port}"
    answer = post(url, f"/{name}{CHAT}?secret={TEXT.replace(' ', '+')}", chat(), **headers)
    assert answer.status == 200
    [record] = records_of(gateway, name)
    usage = answer.json["usage"]
    assert record.prompt_tokens == usage["prompt_tokens"]
    assert record.completion_tokens == usage["completion_tokens"]
    assert record.cached_tokens == 0
    assert (record.method, record.path, record.status) == ("POST", CHAT, 200)
    assert (record.key, record.model, record.end) == ("laptop", "mock", "finished")
    assert (record.request_id, record.revision, record.replica_id) == (
        "id-of-the-client",
        1,
        "mock",
    )
    assert not record.is_stream
    assert [(one.replica_id, one.outcome, one.status) for one in record.attempts] == [
        ("mock", "ok", 200)
    ]
    assert record.num_retries == 0
    check_times(record)
    page = request(gateway.admin_url, "GET", f"/requests?service={name}").body.decode()
    page += request(gateway.admin_url, "GET", "/metrics").body.decode()
    assert KEY not in page
    assert TEXT.replace(" ", "+") not in page
    assert TEXT not in page


@pytest.mark.parametrize("includes_usage", [True, False])
def test_a_stream_is_recorded_with_its_chunks(
    gateway: GatewayProcess, start_mock: StartMock, route: Route, includes_usage: bool
) -> None:
    mock = start_mock("--tokens-per-s", "100")
    name = route(mock.route)
    options = {"stream_options": {"include_usage": True}} if includes_usage else {}
    url = f"http://127.0.0.1:{gateway.port}"
    answer = post(url, f"/{name}{CHAT}", chat(stream=True, max_tokens=20, **options))
    assert answer.body.endswith(b"data: [DONE]\n\n")
    [record] = records_of(gateway, name)
    assert record.is_stream
    assert record.model == "mock"
    assert record.completion_tokens == (20 if includes_usage else None)
    assert (record.prompt_tokens is None) != includes_usage
    assert 2 <= record.num_chunks <= 30
    assert record.mean_gap_s is not None
    assert record.max_gap_s is not None
    assert 0 < record.mean_gap_s <= record.max_gap_s < record.total_s
    assert record.ttft_s is not None
    decode_s = record.mean_gap_s * (record.num_chunks - 1)
    assert decode_s == pytest.approx(record.total_s - record.ttft_s, rel=0.01, abs=0.02)
    check_times(record)
    labels = {"service": name, "revision": "1", "key": "", "model": "mock"}
    assert metric(gateway, "time_to_first_token_seconds_count", **labels) == 1
    num_gaps = metric(gateway, "inter_token_latency_seconds_count", **labels)
    assert num_gaps == record.num_chunks - 1
    tokens = metric(gateway, "completion_tokens_total", **labels)
    assert tokens == (20 if includes_usage else 0)
    without = metric(gateway, "responses_without_usage_total", **labels)
    assert without == (0 if includes_usage else 1)
    stats = gateway.stats().revisions[f"{name}/1"]
    assert stats.num_responses_total == 1
    assert stats.num_completion_tokens_total == tokens
    assert sum(stats.stream_ttft_counts) == 1
    assert sum(stats.inter_token_counts) == num_gaps


def test_gaps_of_a_long_stream_are_counted_while_it_continues(
    gateway: GatewayProcess, start_mock: StartMock, route: Route
) -> None:
    name = route(start_mock("--tokens-per-s", "1000").route)

    async def scenario() -> None:
        body = json.dumps(chat(stream=True, max_tokens=100_000)).encode()
        client = await connect(gateway.port)
        head = b"POST /%b%b HTTP/1.1\r\nhost: h\r\n" % (name.encode(), CHAT.encode())
        await client.send(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        async with asyncio.timeout(DEADLINE_S):
            while True:
                await client.reader.read(65536)
                stats = await asyncio.to_thread(gateway.stats)
                if sum(stats.revisions[f"{name}/1"].inter_token_counts) > 500:
                    break
        assert gateway.requests(service=name) == []
        client.abort()

    asyncio.run(scenario())
    [record] = records_of(gateway, name)
    assert (record.end, record.status) == ("client_disconnected", 499)
    assert record.num_chunks > 500
    assert [one.outcome for one in record.attempts] == ["client_disconnected"]


def test_each_attempt_of_a_retried_request_is_recorded(
    gateway: GatewayProcess, route: Route
) -> None:
    async def cut(peer: Peer) -> None:
        await peer.read_message()

    async def busy(peer: Peer) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")

    async def answer(peer: Peer) -> None:
        while True:
            await peer.read_message()
            await peer.send(OK)

    async def scenario() -> str:
        async with (
            ScriptedReplica(cut, "a-cuts") as first,
            ScriptedReplica(busy, "b-busy") as second,
        ):
            closed = ReplicaRoute("c-closed", "127.0.0.1", 1)
            name = await asyncio.to_thread(route, first.route, second.route, closed)
            client = await connect(gateway.port)
            await client.send(raw_post(name))
            await asyncio.to_thread(_wait_for_queue, gateway, name)
            async with ScriptedReplica(answer, "d-good") as third:
                replicas = (first.route, second.route, closed, third.route)
                await asyncio.to_thread(route, *replicas, name=name)
                assert (await client.read_message()) == OK
            await client.close()
        return name

    name = asyncio.run(scenario())
    [record] = records_of(gateway, name)
    outcomes = {one.replica_id: one.outcome for one in record.attempts}
    assert outcomes["d-good"] == "ok"
    assert record.attempts[-1].replica_id == record.replica_id == "d-good"
    assert outcomes["a-cuts"] == "cut"
    assert outcomes["b-busy"] == "bad_status"
    assert outcomes["c-closed"] == "connect_failed"
    assert record.num_retries == len(record.attempts) - 1 >= 3
    assert all(one.sent_s is None for one in record.attempts if one.outcome == "connect_failed")
    assert record.queued_s > 0
    assert (record.end, record.status, record.error_code) == ("finished", 200, None)
    check_times(record)
    labels = {"service": name, "revision": "1", "key": "", "model": ""}
    retries = metric(gateway, "retries_total", **labels)
    assert retries == record.num_retries
    assert metric(gateway, "queue_seconds_count", **labels) == 1
    stats = gateway.stats().revisions[f"{name}/1"]
    assert (stats.num_retries_total, stats.num_queued_total) == (retries, 1)
    assert stats.queued_s_total == pytest.approx(record.queued_s)


def _wait_for_queue(gateway: GatewayProcess, service: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while gateway.stats().revisions[f"{service}/1"].num_waiting == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def _cut_stream(peer: Peer) -> None:
    await peer.read_message()
    await peer.send(EVENTS + chunk(b'data: {"model":"m"}\n\n'))


async def _silent(peer: Peer) -> None:
    await peer.read_message()
    await peer.read_to_end()


async def _error_event(peer: Peer) -> None:
    await peer.read_message()
    events = b'data: {"model":"m"}\n\ndata: {"error":{"message":"out of memory"}}\n\n'
    await peer.send(EVENTS + chunk(events) + b"0\r\n\r\n")


async def _server_error(peer: Peer) -> None:
    await peer.read_message()
    await peer.send(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("script", "limits", "end", "code", "status", "reason"),
    [
        (_cut_stream, Limits(), "cut", "upstream_cut", 200, "upstream_cut"),
        (
            *(_silent, Limits(request_timeout_s=0.2)),
            *("timeout", "upstream_timeout", 504, "upstream_timeout"),
        ),
        (None, Limits(queue_timeout_s=0.1), "timeout", "queue_timeout", 503, "queue_timeout"),
        (None, Limits(max_queue=0), "rejected", "queue_full", 429, "queue_full"),
        (_error_event, Limits(), "finished", None, 200, "replica_error"),
        (_server_error, Limits(), "finished", None, 500, "replica_error"),
    ],
)
def test_how_a_request_failed_is_recorded(
    gateway: GatewayProcess,
    route: Route,
    script: Script | None,
    limits: Limits,
    end: str,
    code: str | None,
    status: int,
    reason: str,
) -> None:
    async def scenario() -> str:
        async with ScriptedReplica(script or _silent) as replica:
            routes = [] if script is None else [replica.route]
            name = await asyncio.to_thread(route, *routes, limits=limits)
            client = await connect(gateway.port)
            await client.send(raw_post(name))
            assert (await client.read_head()).startswith(b"HTTP/1.1 %d " % status)
            await asyncio.to_thread(records_of, gateway, name)
            await client.close()
        return name

    name = asyncio.run(scenario())
    [record] = records_of(gateway, name)
    assert (record.end, record.error_code, record.status) == (end, code, status)
    assert len(record.attempts) == (script is not None)
    check_times(record)
    errors = metric(gateway, "errors_total", service=name)
    assert errors == metric(gateway, "errors_total", service=name, reason=reason) == 1
    revisions = gateway.stats().revisions
    assert revisions[f"{name}/1"].num_errors_total == (
        status != 429 and record.revision is not None
    )


def test_rejected_requests_do_not_displace_others(tmp_path: Path, mock: MockServerProcess) -> None:
    with GatewayProcess(tmp_path, "--request-records", "3") as gateway:
        target = TargetRoute(1, 3000, 100, (mock.route,))
        keys = {"key_hashes": (hash_key(KEY.encode()),), "key_names": ("laptop",)}
        gateway.follow(ServiceRoute("svc", True, (target,), **keys))  # type: ignore[arg-type]
        url = f"http://127.0.0.1:{gateway.port}"
        for number in range(5):
            headers = {"x_api_key": KEY, "x_request_id": f"good-{number}"}
            assert request(url, "GET", "/svc/v1/models", **headers).status == 200
        for number in range(9):
            headers = {"x_api_key": "wrong", "x_request_id": f"bad-{number}"}
            assert request(url, "GET", "/svc/v1/models", **headers).status == 401
        admitted = gateway.requests(status="2xx")
        rejected = gateway.requests(status="401")
        assert [one.request_id for one in admitted] == ["good-2", "good-3", "good-4"]
        assert [one.request_id for one in rejected] == ["bad-6", "bad-7", "bad-8"]
        assert {one.key for one in admitted} == {"laptop"}
        assert {(one.key, one.end, one.error_code) for one in rejected} == {
            (None, "rejected", "invalid_api_key")
        }
        both = [one.request_id for one in gateway.requests()]
        assert both == [one.request_id for one in (*admitted, *rejected)]
        newest = gateway.requests(limit=2)
        assert [one.request_id for one in newest] == ["bad-7", "bad-8"]
        before = gateway.requests(limit=2, before=newest[0].record_id)
        assert [one.request_id for one in before] == ["good-4", "bad-6"]
        assert gateway.requests(before="unknown") == []
        assert gateway.requests(record_id=newest[0].record_id) == newest[:1]
        assert gateway.requests(key="laptop", revision=1) == admitted
        assert gateway.requests(revision=2) == gateway.requests(service="other") == []
        assert gateway.requests(min_duration_s=60) == []


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_line_is_logged_for_each_request(
    tmp_path: Path, mock: MockServerProcess, log_format: str
) -> None:
    arguments = ("--log-requests", "--log-format", log_format, "--request-records", "0")
    with GatewayProcess(tmp_path, *arguments) as gateway:
        target = TargetRoute(1, 3000, 100, (mock.route,))
        keys = {"key_hashes": (hash_key(KEY.encode()),), "key_names": ("my laptop",)}
        gateway.follow(ServiceRoute("svc", True, (target,), **keys))  # type: ignore[arg-type]
        url = f"http://127.0.0.1:{gateway.port}"
        headers = {"x_api_key": KEY, "x_request_id": 'odd" id=1'}
        assert post(url, f"/svc{CHAT}?text={TEXT[2:6]}", chat(), **headers).status == 200
        assert post(url, f"/svc{CHAT}", chat(), x_api_key="wrong").status == 401
        assert gateway.requests() == []
        deadline = time.monotonic() + DEADLINE_S
        while gateway.output.count("request_id") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        output = gateway.output
    first, second = [line for line in output.splitlines() if "request_id" in line]
    assert KEY not in output
    assert TEXT[2:6] not in output
    if log_format == "json":
        fields = json.loads(first)
        assert (fields["status"], fields["end"], fields["key"]) == (200, "finished", "my laptop")
        assert fields["request_id"] == 'odd" id=1'
        assert fields["completion_tokens"] > 0
        assert fields["time"].endswith("Z")
        assert json.loads(second)["error_code"] == "invalid_api_key"
    else:
        assert r' request_id="odd\" id=1" service=svc method=POST' in first
        assert " status=200 end=finished " in first
        assert ' key="my laptop" ' in first
        assert " error_code=invalid_api_key" in second


def test_trace_context_reaches_the_replica_unchanged(gateway: GatewayProcess, route: Route) -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            seen.append(await peer.read_message())
            await peer.send(OK)

    parent = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    state = b"tracestate: rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            for more in (b"", parent + b"\r\n", parent + b"\r\n" + state + b"\r\n"):
                head, body = raw_post(name).split(b"\r\n\r\n")
                await client.send(head + b"\r\n" + more + b"\r\n" + body)
                assert await client.read_message() == OK
            await client.close()

    asyncio.run(scenario())
    without, with_parent, with_both = ([*one.split(b"\r\n")] for one in seen)
    assert not any(line.lower().startswith((b"traceparent", b"tracestate")) for line in without)
    assert parent in with_parent
    assert [line for line in with_both if line.startswith(b"trace")] == [parent, state]
