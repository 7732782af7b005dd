"""HTTPS with real clients."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from headrace.testing.certificates import write_certificate
from headrace.testing.processes.server_process import ServerProcess


@pytest.fixture(scope="module")
def cafile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("tls")).certfile


@pytest.fixture(scope="module")
def secured(fake_command: tuple[str, ...], cafile: Path) -> Iterator[ServerProcess]:
    arguments = (
        *("parrot", "--served-model-name", "parrot"),
        *("--ssl-certfile", str(cafile), "--ssl-keyfile", str(cafile.with_name("key.pem"))),
    )
    with ServerProcess(
        *arguments, command=fake_command, start_timeout_s=120.0, cafile=cafile
    ) as process:
        yield process


def test_the_openai_client_connects(secured: ServerProcess, cafile: Path) -> None:
    assert secured.url.startswith("https://127.0.0.1:")
    with (
        httpx2.Client(verify=trust(cafile)) as http,
        openai.OpenAI(
            base_url=f"{secured.url}/v1", api_key="none", max_retries=0, http_client=http
        ) as client,
    ):
        messages = [{"role": "user", "content": "hello"}]
        whole = client.chat.completions.create(model="parrot", messages=messages)  # type: ignore[arg-type]
        stream = client.chat.completions.create(
            model="parrot",
            messages=messages,  # type: ignore[arg-type]
            stream=True,
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == whole.choices[0].message.content


def test_a_client_that_does_not_trust_the_certificate_fails(secured: ServerProcess) -> None:
    with httpx2.Client() as http, pytest.raises(httpx2.ConnectError):
        http.get(f"{secured.url}/health")


def test_plain_http_does_not_disturb_the_server(secured: ServerProcess, cafile: Path) -> None:
    with httpx2.Client() as http, pytest.raises(httpx2.TransportError):
        http.get(secured.url.replace("https", "http") + "/health")
    with httpx2.Client(verify=trust(cafile)) as http:
        assert http.get(f"{secured.url}/health").status_code == 200


def trust(cafile: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cafile)
