"""GET /server_info, /load and /ping."""

from dataclasses import fields

import pytest

from headrace.engine.config import EngineConfig
from headrace.server.api.operations.server_info import public_options
from headrace.server.api.schemas.operations import Load, ServerInfo, Status
from headrace.server.config import ServerConfig
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import request


def test_it_has_every_option_but_secrets(server: ServerProcess) -> None:
    info = ServerInfo.model_validate(request(server.url, "GET", "/server_info").json)
    assert info.served_model_names == ["parrot", "polly"]
    assert set(info.engine_config) == {field.name for field in fields(EngineConfig)}
    assert set(info.server_config) == {field.name for field in fields(ServerConfig)} - {"api_key"}


def test_secrets_are_left_out() -> None:
    endpoint = "http://user:secret@collector:4318/v1/traces?token=secret"
    config = ServerConfig(api_key=("secret",), otlp_traces_endpoint=endpoint)
    shown = public_options(config)
    assert "secret" not in str(shown)
    assert shown["otlp_traces_endpoint"] == "http://collector:4318/v1/traces"


def test_an_idle_server_has_no_load(server: ServerProcess) -> None:
    load = Load.model_validate(request(server.url, "GET", "/load").json)
    assert (load.server_load, load.num_running, load.num_waiting) == (0, 0, 0)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ping_is_healthy(server: ServerProcess, method: str) -> None:
    answer = request(server.url, method, "/ping")
    assert Status.model_validate(answer.json).status == "ok"
