"""Allowed hosts and origins, over real sockets."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from headrace.core.gateway.routes import Limits, ServiceRoute, TargetRoute
from headrace.gateway.keys import hash_key
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess
from headrace.testing.raw_http import Answer, request
from headrace.testing.servers.scripted_replica import Peer, ScriptedReplica, connect

PAGE = "https://page.example"
LOCAL_PAGE = "http://localhost:3000"
KEY = "Bearer sesame"
ASKS = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization"}


class Gateways:
    """Starts gateways with these options and the services ``open`` and ``closed``."""

    def __init__(self, stack: ExitStack, folder: Path, mock: MockServerProcess) -> None:
        self._stack = stack
        self._folder = folder
        self._mock = mock

    def start(self, *options: str) -> GatewayProcess:
        gateway = self._stack.enter_context(GatewayProcess(self._folder, *options))
        target = TargetRoute(1, 3000, 100, (self._mock.route,))
        gateway.follow(
            ServiceRoute("open", True, (target,)),
            ServiceRoute("closed", True, (target,), key_hashes=(hash_key(b"sesame"),)),
            ServiceRoute("full", True, (TargetRoute(1, 3000, 100),), limits=Limits(max_queue=0)),
        )
        return gateway


@pytest.fixture(scope="module")
def mock() -> Iterator[MockServerProcess]:
    with MockServerProcess() as process:
        yield process


@pytest.fixture
def gateways(tmp_path: Path, mock: MockServerProcess) -> Iterator[Gateways]:
    with ExitStack() as stack:
        yield Gateways(stack, tmp_path, mock)


@pytest.fixture(scope="module")
def usual(
    tmp_path_factory: pytest.TempPathFactory, mock: MockServerProcess
) -> Iterator[GatewayProcess]:
    """Started without options."""
    with ExitStack() as stack:
        yield Gateways(stack, tmp_path_factory.mktemp("usual"), mock).start()


def fetch(
    gateway: GatewayProcess, service: str = "open", method: str = "GET", **headers: str
) -> Answer:
    url = f"http://127.0.0.1:{gateway.port}"
    return request(url, method, f"/{service}/v1/models", **headers)


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1:8080", "open.localhost", "LOCALHOST.", "[::1]:1", "a.localhost"],
)
def test_loopback_hosts_are_allowed(usual: GatewayProcess, host: str) -> None:
    assert fetch(usual, Host=host).status in (200, 404)  # 404: this host selects the service


@pytest.mark.parametrize(
    "host",
    ["evil.example", "open.evil.example", "10.0.0.1:8080", "localhost.evil.example", "x" * 600],
)
def test_foreign_hosts_are_refused_for_services_without_keys(
    usual: GatewayProcess, host: str
) -> None:
    refused = fetch(usual, Host=host)
    assert refused.status == 421
    assert refused.error["code"] == "host_not_allowed"


def test_every_host_is_allowed_for_services_with_keys(usual: GatewayProcess) -> None:
    assert fetch(usual, "closed", Host="llm.example", Authorization=KEY).status == 200
    assert fetch(usual, "closed", Host="llm.example").status == 401


def test_requests_without_a_host_are_allowed(usual: GatewayProcess) -> None:
    async def scenario() -> bytes:
        client = await connect(usual.port)
        await client.send(b"GET /open/v1/models HTTP/1.0\r\n\r\n")
        return await client.read_to_end()

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("origin", [PAGE, "null", "http://10.0.0.1:8080", "x" * 600])
def test_foreign_origins_are_refused_for_services_without_keys(
    usual: GatewayProcess, method: str, origin: str
) -> None:
    refused = fetch(usual, method=method, Origin=origin)
    assert refused.status == 403
    assert refused.error["code"] == "origin_not_allowed"
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("origin", [LOCAL_PAGE, "http://127.0.0.1", "https://ui.localhost:8443"])
def test_loopback_origins_are_allowed(usual: GatewayProcess, origin: str) -> None:
    for _ in range(2):
        response = fetch(usual, Origin=origin)
        assert response.status == 200
        assert response.headers["access-control-allow-origin"] == origin
        assert response.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in response.headers


def test_requests_without_an_origin_get_no_cors_headers(usual: GatewayProcess) -> None:
    response = fetch(usual)
    assert not [name for name in response.headers if name.startswith("access-control-")]
    assert "vary" not in response.headers


def test_every_origin_may_use_a_service_with_keys_and_read_its_errors(
    usual: GatewayProcess,
) -> None:
    for status, headers in ((200, {"Authorization": KEY}), (401, {})):
        response = fetch(usual, "closed", Origin=PAGE, **headers)
        assert response.status == status
        assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(("service", "status"), [("full", 429), ("nowhere", 404)])
def test_gateway_errors_have_cors_headers(usual: GatewayProcess, service: str, status: int) -> None:
    response = fetch(usual, service, Origin=LOCAL_PAGE)
    assert response.status == status
    assert response.headers["access-control-allow-origin"] == LOCAL_PAGE
    foreign = fetch(usual, service, Origin=PAGE)
    assert "access-control-allow-origin" not in foreign.headers


def test_preflights_need_neither_a_key_nor_a_replica(
    usual: GatewayProcess,
) -> None:
    before = usual.stats().replicas["mock"].num_requests_total
    for service, origin, allowed in (("closed", PAGE, "*"), ("open", LOCAL_PAGE, LOCAL_PAGE)):
        response = fetch(usual, service, "OPTIONS", Origin=origin, **ASKS)
        assert response.status == 204
        assert response.body == b""
        assert "content-length" not in response.headers
        assert response.headers["access-control-allow-origin"] == allowed
        assert response.headers["access-control-allow-headers"] == "authorization"
        assert "POST" in response.headers["access-control-allow-methods"]
        assert int(response.headers["access-control-max-age"]) > 0
    assert usual.stats().replicas["mock"].num_requests_total == before


def test_hosts_and_origins_can_be_allowed_by_options(gateways: Gateways) -> None:
    gateway = gateways.start(
        *("--allowed-hosts", "llm.example", "--allowed-hosts", "*.lab.example"),
        *("--allowed-origins", PAGE),
    )
    for host, status in (
        ("llm.example:8080", 200),
        ("a.lab.example", 200),
        ("localhost", 200),
        ("evil.example", 421),
    ):
        assert fetch(gateway, Host=host).status == status
    for origin in (PAGE, LOCAL_PAGE, "https://llm.example"):
        assert fetch(gateway, Origin=origin).headers["access-control-allow-origin"] == origin
    assert fetch(gateway, Origin="https://other.example").status == 403
    # With keys, a list of origins applies as well.
    response = fetch(gateway, "closed", Origin=PAGE, Authorization=KEY)
    assert response.headers["access-control-allow-origin"] == PAGE
    foreign = fetch(gateway, "closed", Origin="https://other.example", Authorization=KEY)
    assert foreign.status == 200
    assert "access-control-allow-origin" not in foreign.headers
    refused = fetch(gateway, "closed", "OPTIONS", Origin="https://other.example", **ASKS)
    assert refused.status == 403


def test_methods_headers_and_credentials_are_options(gateways: Gateways) -> None:
    gateway = gateways.start(
        *("--allowed-origins", "*", "--allow-credentials"),
        *("--allowed-methods", "GET", "--allowed-methods", "POST"),
        *("--allowed-headers", "X-One"),
    )
    response = fetch(gateway, "open", "OPTIONS", Origin=PAGE, **ASKS)
    assert response.status == 204
    assert (
        response.headers["access-control-allow-origin"] == PAGE
    )  # * is not allowed with credentials
    assert response.headers["access-control-allow-credentials"] == "true"
    assert response.headers["access-control-allow-methods"] == "GET, POST"
    assert response.headers["access-control-allow-headers"] == "X-One"
    assert fetch(gateway, Origin=PAGE).headers["access-control-allow-credentials"] == "true"


def test_beyond_loopback_all_hosts_are_allowed_and_services_without_keys_are_logged(
    gateways: Gateways,
) -> None:
    gateway = gateways.start("--host", "0.0.0.0")
    assert fetch(gateway, Host="llm.example").status == 200
    assert fetch(gateway, Origin=PAGE).status == 200
    assert "access-control-allow-origin" not in fetch(gateway, Origin=PAGE).headers
    warnings = [line for line in gateway.output.splitlines() if "has no API key" in line]
    assert len(warnings) == 2  # of open and full
    assert not any("closed" in line for line in warnings)
    gateway.follow(ServiceRoute("open", True), ServiceRoute("late", True))
    warnings = [line for line in gateway.output.splitlines() if "has no API key" in line]
    assert len(warnings) == 3
    assert "Service late " in warnings[-1]


def test_on_loopback_no_warning_is_logged(usual: GatewayProcess) -> None:
    assert "has no API key" not in usual.output


@pytest.mark.parametrize("path", ["/stats", "/metrics", "/health", "/nowhere"])
def test_the_admin_port_refuses_foreign_hosts(usual: GatewayProcess, path: str) -> None:
    refused = request(usual.admin_url, "GET", path, Host="rebound.example")
    assert refused.status == 421
    assert b"open" not in refused.body
    assert request(usual.admin_url, "GET", path, Host="localhost").status in (200, 404)


def test_cors_headers_of_replicas_are_replaced(gateways: Gateways) -> None:
    """The replica does not have the gateway's allowed origins."""
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            seen.append(await peer.read_message())
            await peer.send(
                b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\n"
                b"Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: x\r\n"
                b"content-length: 0\r\n\r\n"
            )

    async def scenario() -> tuple[bytes, bytes]:
        gateway = gateways.start()
        async with ScriptedReplica(script) as replica:
            target = TargetRoute(1, 3000, 100, (replica.route,))
            await asyncio.to_thread(gateway.follow, ServiceRoute("svc", True, (target,)))
            client = await connect(gateway.port)
            fetch = b"GET /svc/x HTTP/1.1\r\nhost: localhost\r\n%b\r\n"
            await client.send(fetch % b"origin: http://localhost:3000\r\n")
            with_origin = await client.read_head()
            await client.send(fetch % b"")
            without = await client.read_head()
            await client.close()
        return with_origin, without

    with_origin, without = asyncio.run(scenario())
    assert with_origin.lower().count(b"access-control-") == 1
    assert b"\r\naccess-control-allow-origin: http://localhost:3000\r\n" in with_origin
    assert b"\r\nVary: Accept\r\n" in with_origin
    assert b"\r\nvary: Origin\r\n" in with_origin
    assert b"access-control-" not in without.lower()
    assert not any(b"origin" in head.lower() for head in seen)
