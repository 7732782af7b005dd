"""All requests go directly to the server, measured or not."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace.bench.errors import OptionError, ServerError
from headrace.bench.http.server_info import ask_server, find_target
from headrace.bench.load import event_loop
from headrace.bench.load.arrivals import ClosedLoop
from headrace.bench.load.load_generator import run_load
from headrace.bench.memory.server_process_tree import find_server
from headrace.bench.records import BenchTarget, Failure, PlannedRequest
from headrace.listen.tls import TlsFiles
from headrace.testing.certificates import write_certificate
from headrace.testing.servers.scripted_server import ScriptedServer, whole

RESPONSE = whole(
    {
        "data": [{"id": "m"}],
        "choices": [{"text": "yes", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
)
"""For every request."""
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def proxies(url: str) -> dict[str, str]:
    """An environment that sends every request to this proxy."""
    values = dict(zip(PROXY_VARIABLES, (url, url, url, ""), strict=True))
    return values | {name.lower(): value for name, value in values.items()}


def measured(
    find: Callable[[], BenchTarget], server: ScriptedServer
) -> Coroutine[Any, Any, str | None]:
    """Query the model and the server, then send a request; returns its error."""

    async def main() -> str | None:
        target = await asyncio.to_thread(find)
        await asyncio.to_thread(ask_server, target)
        result = await run_load(
            target,
            [PlannedRequest(max_tokens=1, prompt="hi")],
            ClosedLoop(1),
            is_streamed=False,
            endpoint="completions",
            num_warm_ups=1,
        )
        assert len(server.requests) == 5
        posts = [each.head for each in server.requests if each.head.startswith("POST ")]
        assert len(posts) == 2
        assert all("\r\nContent-Type: application/json\r\n" in head for head in posts)
        return result.records[0].error

    return main()


def hosts_of(server: ScriptedServer) -> set[str]:
    lines = [line for each in server.requests for line in each.head.split("\r\n")]
    return {line.partition(": ")[2] for line in lines if line.lower().startswith("host: ")}


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("is_tls", [False, True])
def test_requests_bypass_proxies(
    scheme: str, is_tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_certificate(tmp_path)

    async def main() -> None:
        tls = files.server_context() if is_tls else None
        async with (
            ScriptedServer([whole({})]) as proxy,
            ScriptedServer([RESPONSE], tls=tls) as server,
        ):
            for name, value in proxies(f"{scheme}://{proxy.base_url.partition('://')[2]}").items():
                monkeypatch.setenv(name, value)
            find = partial(find_target, server.base_url, None, ca_certs=files.certfile)
            assert await measured(find, server) is None
            assert proxy.num_connections == 0

    event_loop.run(main())


@pytest.mark.parametrize(
    "command",
    [
        ["serve", "--num-prompts", "2", "--output-len", "1"],
        ["load", "-n", "2"],
        ["sweep", "--concurrency", "1", "--num-prompts", "2", "--output-len", "1"],
        ["experiment", "--mode", "sync", "--repeat", "1", "--num-prompts", "2"],
        ["compare", "--rounds", "1", "--num-prompts", "2", "--output-len", "1"],
    ],
)
def test_commands_bypass_proxies(command: list[str], tmp_path: Path) -> None:
    async def main() -> None:
        async with ScriptedServer([whole({})]) as proxy, ScriptedServer([RESPONSE]) as server:
            at = server.base_url
            if command[0] == "compare":
                where = ["--target", f"a={at}", "--target", f"b={at}", "--no-stream"]
            elif command[0] == "experiment":
                where = ["--base-url", at, "--output-dir", str(tmp_path)]
            else:
                where = ["--base-url", at, "--no-stream"]
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "headrace", "bench", *command, *where),
                "--allow-client-bound",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **proxies(proxy.base_url)},
            )
            async with asyncio.timeout(120):
                out, _ = await process.communicate()
            assert process.returncode == 0, out.decode()
            assert any("/v1/models" in each.head for each in server.requests)
            assert proxy.num_connections == 0

    asyncio.run(main())


@pytest.mark.parametrize("listens_on", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("name", ["localhost", "openllm.localhost"])
def test_subdomains_of_localhost_are_reached_on_either_address(listens_on: str, name: str) -> None:
    async def main() -> None:
        async with ScriptedServer([RESPONSE], host=listens_on) as server:
            port = server.base_url.rpartition(":")[2]
            url = f"http://{name}:{port}"
            assert await measured(lambda: find_target(url, None), server) is None
            assert hosts_of(server) == {f"{name}:{port}"}
            tree = find_server(url)
            assert tree is not None
            assert tree.root_pids == [os.getpid()]

    event_loop.run(main())


def test_a_refused_connection_on_both_addresses() -> None:
    with pytest.raises(ServerError, match="Connection refused"):
        find_target("http://openllm.localhost:1", None)
    target = BenchTarget("server", "http://openllm.localhost:1", "m")
    result = event_loop.run(
        run_load(
            target,
            [PlannedRequest(max_tokens=1, prompt="hi")],
            ClosedLoop(1),
            is_streamed=False,
            endpoint="completions",
        )
    )
    assert result.records[0].failure is Failure.CONNECT
    assert "Connection refused" in (result.records[0].error or "")


@pytest.fixture
def certificate(tmp_path: Path) -> TlsFiles:
    return write_certificate(tmp_path, "openllm.localhost")


def test_a_private_authority_is_trusted_by_option(certificate: TlsFiles) -> None:
    async def main() -> None:
        async with ScriptedServer([RESPONSE], tls=certificate.server_context()) as server:
            url = server.base_url.replace("localhost", "openllm.localhost")
            find = partial(find_target, url, None, ca_certs=certificate.certfile)
            assert await measured(find, server) is None

    event_loop.run(main())


def test_a_private_authority_is_trusted_by_ssl_cert_file(
    certificate: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.certfile))

    async def main() -> None:
        async with ScriptedServer([RESPONSE], tls=certificate.server_context()) as server:
            assert await measured(lambda: find_target(server.base_url, None), server) is None

    event_loop.run(main())


def test_an_unknown_authority_is_refused(certificate: TlsFiles) -> None:
    async def main() -> None:
        async with ScriptedServer([RESPONSE], tls=certificate.server_context()) as server:
            with pytest.raises(ServerError, match=r"not trusted.*--ssl-ca-certs"):
                await asyncio.to_thread(find_target, server.base_url, None)
            assert server.requests == []

    event_loop.run(main())


def test_files_without_certificates_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("none")
    for path in (tmp_path / "missing.pem", tmp_path, text):
        for scheme in ("http", "https"):
            with pytest.raises(OptionError, match="--ssl-ca-certs"):
                find_target(f"{scheme}://127.0.0.1:1", "m", ca_certs=path)
