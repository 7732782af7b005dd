"""Servers of several models: real processes, and the openai client."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from headrace.testing.models.tiny_models import write_tiny_model
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import Answer, post, request, send_json

StartServer = Callable[..., ServerProcess]

DEADLINE_S = 60.0
PROMPT = "0123456789abcdef"


def complete(server: ServerProcess, model: str, max_tokens: int = 3, **more: object) -> Answer:
    body = {"model": model, "prompt": PROMPT, "max_tokens": max_tokens, **more}
    return post(server.url, "/v1/completions", body)


def states(server: ServerProcess) -> dict[str, str]:
    cards = request(server.url, "GET", "/v1/models").json["data"]
    return {card["id"]: card["state"] for card in cards}


def load_of(server: ServerProcess, model: str) -> dict[str, Any]:
    [found] = [
        each for each in request(server.url, "GET", "/load").json["models"] if each["id"] == model
    ]
    return found  # type: ignore[no-any-return]


def core_pids(server: ServerProcess) -> list[int]:
    """The engine cores' processes (Linux)."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return [
        int(pid)
        for pid in children
        if Path(f"/proc/{pid}/comm").read_text().strip() == "headrace-core"
    ]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_requests_swap_models_and_none_is_lost(start_server: StartServer) -> None:
    server = start_server("a", "b", "c", "--max-loaded", "1")
    assert states(server) == dict.fromkeys("abc", "unloaded")
    assert core_pids(server) == []
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)

    def ask(number: int) -> tuple[str, str, str]:
        model = "abc"[number % 3]
        arguments: dict[str, Any] = {"model": model, "prompt": PROMPT, "max_tokens": 40}
        if number % 2:
            reply = client.completions.create(**arguments)
            return model, reply.model, reply.choices[0].text
        chunks = list(client.completions.create(**arguments, stream=True))
        return model, chunks[0].model, "".join(chunk.choices[0].text for chunk in chunks)

    with client, ThreadPoolExecutor(12) as clients:
        for model, answered, text in clients.map(ask, range(36)):
            assert answered == model
            assert text == (PROMPT * 3)[:40]
        assert [each.id for each in client.models.list()] == ["a", "b", "c"]
    assert sorted(states(server).values()) == ["loaded", "unloaded", "unloaded"]
    assert len(core_pids(server)) == 1
    load = request(server.url, "GET", "/load").json
    assert load["server_load"] == load["num_running"] == load["num_waiting"] == 0
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def test_the_least_recently_used_model_makes_room(start_server: StartServer) -> None:
    server = start_server("a", "b", "c", "--max-loaded", "2")
    for model in "abac":
        assert complete(server, model).json["choices"][0]["text"] == "012"
    assert states(server) == {"a": "loaded", "b": "unloaded", "c": "loaded"}
    card = request(server.url, "GET", "/v1/models/b").json
    assert (card["max_model_len"], card["dtype"]) == (None, None)
    assert request(server.url, "GET", "/v1/models/a").json["max_model_len"] == 2048
    assert complete(server, "nope").error["code"] == "model_not_found"
    info = request(server.url, "GET", "/server_info?model=b").json
    assert (info["state"], info["num_blocks"]) == ("unloaded", None)
    assert info["models"] == ["a", "b", "c"]
    assert request(server.url, "GET", "/server_info?model=nope").status == 404
    assert post(server.url, "/reset_prefix_cache", {}).status == 200

    page = request(server.url, "GET", "/metrics").body.decode()
    lines = page.splitlines()
    families = [line for line in lines if line.startswith("# TYPE ")]
    assert len(families) == len(set(families))
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))
    assert page.count("\nprocess_open_fds ") == 1
    for model, requests, awake in (("a", 2, 1), ("b", 1, 0), ("c", 1, 1)):
        label = f'model_name="{model}"'
        succeeded = [
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("vllm:request_success_total{") and label in line
        ]
        assert sum(succeeded) == requests
        sleep = f'vllm:engine_sleep_state{{engine="0",{label},sleep_state="awake"}} {awake}.0'
        assert sleep in lines
    if (promtool := shutil.which("promtool")) is not None:
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60
        )
        # Beside vLLM's names, which promtool's style guide does not like, nothing is wrong.
        complaints = (checked.stdout + checked.stderr).splitlines()
        style = ("metric names should not contain ':'", '"_total" suffix')
        assert [line for line in complaints if not line.endswith(style)] == []


def test_idle_models_are_unloaded_and_loaded_again(start_server: StartServer) -> None:
    """Of one model too, which is loaded at the start."""
    server = start_server("parrot", "--keep-alive", "0.2", "--served-model-name", "parrot")
    for _ in range(2):
        wait_until(lambda: states(server) == {"parrot": "unloaded"})
        assert core_pids(server) == []
        assert request(server.url, "GET", "/health").status == 200
        assert complete(server, "parrot").json["choices"][0]["text"] == "012"


def test_a_model_that_cannot_be_loaded_fails_its_requests_alone(
    start_server: StartServer,
) -> None:
    server = start_server("a", "b?fail_at_start=1")
    for _ in range(2):
        failed = complete(server, "b", stream=True)
        assert failed.status == 503
        assert failed.error["code"] == "model_load_failed"
        assert "The weights do not fit" in failed.error["message"]
        assert states(server)["b"] == "failed"
        assert complete(server, "a").status == 200
    assert request(server.url, "GET", "/health").status == 200


def test_clients_that_disconnect_stop_waiting_for_a_model(start_server: StartServer) -> None:
    server = start_server("a?step_s=0.01", "b", "--max-loaded", "1", "--max-queue", "1")
    body = {"model": "a", "prompt": PROMPT, "max_tokens": 2000, "stream": True}
    with send_json(server.url, "/v1/completions", body) as running:
        assert running.recv(4096).startswith(b"HTTP/1.1 200 ")
        waiting = {"model": "b", "prompt": PROMPT}
        with (
            send_json(server.url, "/v1/completions", waiting),
            send_json(server.url, "/tokenize", waiting),
        ):
            wait_until(lambda: load_of(server, "b")["num_waiting_for_load"] == 2)
            assert states(server) == {"a": "draining", "b": "unloaded"}
            assert request(server.url, "GET", "/load").json["server_load"] == 3
        wait_until(lambda: load_of(server, "b")["num_waiting_for_load"] == 0)
        assert states(server) == {"a": "loaded", "b": "unloaded"}
        assert complete(server, "a").status == 200
    assert complete(server, "b").status == 200


def test_requests_that_wait_see_the_progress_of_the_load(start_server: StartServer) -> None:
    server = start_server("a", "b?start_s=600", "--max-num-seqs", "1", "--max-queue", "1")
    with ThreadPoolExecutor() as clients:
        waiting = [clients.submit(complete, server, "b") for _ in range(2)]
        wait_until(lambda: load_of(server, "b")["num_waiting_for_load"] == 2)
        wait_until(lambda: bool(load_of(server, "b")["load_phases"]))
        load = load_of(server, "b")
        assert load["state"] == "loading"
        phase = load["load_phases"][-1]
        wait_until(lambda: load_of(server, "b")["load_phases"][-1]["done"] == 1)
        assert (phase["name"], phase["seconds"]) == ("pretend", None)
        refused = complete(server, "b")
        assert (refused.status, refused.error["code"]) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) > 0
        server.send_signal(signal.SIGTERM)  # ends the load, and with it the waiting
        for each in waiting:
            assert each.result().status == 503
            assert each.result().error["code"] == "draining"
    assert server.wait() == 0


def test_a_model_whose_core_is_killed_is_loaded_again(start_server: StartServer) -> None:
    server = start_server("a?step_s=0.01", "b", "--max-loaded", "2")
    assert complete(server, "b").status == 200
    [b_core] = core_pids(server)
    with ThreadPoolExecutor() as clients:
        running = clients.submit(complete, server, "a", 2000)
        wait_until(lambda: load_of(server, "a")["num_running"] == 1)
        [a_core] = set(core_pids(server)) - {b_core}
        os.kill(a_core, signal.SIGKILL)
        assert running.result().status == 500
        assert running.result().error["code"] == "engine_dead"
    assert complete(server, "a").status == 200
    assert complete(server, "b").status == 200
    assert b_core in core_pids(server)
    assert a_core not in core_pids(server)
    assert request(server.url, "GET", "/health").status == 200


def test_sigterm_lets_requests_of_all_models_finish(start_server: StartServer) -> None:
    server = start_server("a?step_s=0.005", "b?step_s=0.005", "--max-loaded", "2")
    with ThreadPoolExecutor() as clients:
        running = [clients.submit(complete, server, model, 200) for model in "ab"]
        for model in "ab":
            wait_until(lambda model=model: load_of(server, model)["num_running"] == 1)  # type: ignore[misc]
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: request(server.url, "GET", "/health").status == 503)
        for each in running:
            assert each.result().json["usage"]["completion_tokens"] == 200
    assert server.wait() == 0


@pytest.fixture(scope="module")
def real_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """``headrace serve --models-file`` with two tiny models of random weights."""
    directory = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two")):
        write_tiny_model(directory / name, seed=seed)
    file = directory / "models.yaml"
    file.write_text(
        f"""
        models:
        - {{model: {directory / "one"}, name: one, aliases: [uno]}}
        - {{model: {directory / "two"}, name: two, max_model_len: 64}}
        """
    )
    arguments = ("--models-file", str(file), "--max-loaded", "1", "--num-threads", "1")
    with ServerProcess(*arguments, "--kv-cache-memory", "16MiB") as server:
        yield server


def test_two_real_models_take_turns_in_memory(real_models: ServerProcess) -> None:
    with (
        openai.OpenAI(
            base_url=f"{real_models.url}/v1", api_key="none", max_retries=0, timeout=DEADLINE_S
        ) as client,
        ThreadPoolExecutor() as clients,
    ):

        def ask(model: str) -> tuple[str, str]:
            reply = client.completions.create(
                model=model, prompt="Hello", max_tokens=12, temperature=0
            )
            return reply.model, reply.choices[0].text

        asked = ("one", "two", "uno", "two", "one", "two")
        answers = list(clients.map(ask, asked))
        assert answers[0] == answers[2] == answers[4]
        assert answers[1] == answers[3] == answers[5]
        assert [name for name, _ in answers[:2]] == ["one", "two"]
        assert answers[0][1] != answers[1][1]
        assert ask("one") == answers[0]  # loaded once more
        assert len(core_pids(real_models)) == 1
        lengths = {
            each.id: (each.model_extra or {})["max_model_len"] for each in client.models.list()
        }
        assert lengths == {"one": 512, "uno": 512, "two": None}
        with pytest.raises(openai.NotFoundError):
            client.completions.create(model="three", prompt="Hello")
