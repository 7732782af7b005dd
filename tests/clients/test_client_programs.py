"""LangChain, LiteLLM, LlamaIndex and lm-eval against a real server with an API key.

The programs run in .venv/clients, which `make clients` sets up, without a network.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import LLM, SamplingParams
from headrace.core.gateway.routes import ReplicaRoute, ServiceRoute, TargetRoute
from headrace.models.sources.files import ModelFiles
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.server_process import ServerProcess

PROGRAMS = Path(__file__).with_name("programs")
QUESTIONS = PROGRAMS / "capitals.jsonl"
PYTHON = Path(sys.prefix) / "clients" / "bin" / "python"
KEY = "sesame"
ENVIRONMENT = {
    # LiteLLM fetches prices, Hugging Face's libraries look for newer files.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HF_HUB_OFFLINE": "1",
    "LANGSMITH_TRACING": "false",
    # Whatever goes elsewhere fails: nothing listens there.
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs `make clients`"),
]

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def server(default_model_files: ModelFiles) -> Iterator[ServerProcess]:
    arguments = (
        *("smollm2-135m", "--max-model-len", "1024", "--kv-cache-memory", "128MiB"),
        "--enable-tokenizer-info-endpoint",
    )
    environment = {"HEADRACE_API_KEY": KEY}
    with ServerProcess(*arguments, env=environment, start_timeout_s=240.0) as process:
        yield process


@pytest.fixture(scope="module")
def url(server: ServerProcess) -> str:
    return f"{server.url}/v1"


@pytest.fixture
def gateway_url(server: ServerProcess, tmp_path: Path) -> Iterator[str]:
    host, port = server.url.removeprefix("http://").split(":")
    replica = ReplicaRoute("r-1", host, int(port))
    key_hash = hashlib.sha256(KEY.encode()).hexdigest()
    with GatewayProcess(tmp_path) as gateway:
        targets = (TargetRoute(1, 8000, 100, (replica,)),)
        gateway.follow(ServiceRoute("svc", True, targets, (key_hash,), forward_key=True))
        yield f"http://127.0.0.1:{gateway.port}/svc/v1"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a program and returns what it printed."""

    def run(name: str, *arguments: str) -> Any:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            **ENVIRONMENT,
            "HOME": str(tmp_path),
        }
        ended = subprocess.run(
            [PYTHON, PROGRAMS / f"{name}.py", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert ended.returncode == 0, ended.stderr[-6000:]
        return json.loads(ended.stdout.splitlines()[-1])

    return run


def test_langchain_through_a_gateway_and_without(run: Run, url: str, gateway_url: str) -> None:
    found, by_gateway = run("langchain_chat", KEY, url, gateway_url)
    for each in (found, by_gateway):
        del each["call"]["id"]
        for usage in ("usage", "streamed_usage"):
            del each[usage]["input_token_details"]  # the number of cached tokens
    assert found == by_gateway
    assert found["whole"] == found["streamed"]
    assert "Paris" in found["whole"]
    assert found["batch"][0] == found["whole"]
    assert found["finish_reason"] == "stop"
    assert found["model"] == "smollm2-135m"
    counts = ("input_tokens", "output_tokens", "total_tokens")
    usage, streamed_usage = found["usage"], found["streamed_usage"]
    assert [usage[each] for each in counts] == [streamed_usage[each] for each in counts]
    assert found["num_chunks"] > usage["output_tokens"]  # one a token, then finish and usage
    for parsed in found["parsed"].values():
        assert set(parsed) == {"name", "country"}
    assert found["call"]["name"] == "get_weather"
    assert isinstance(found["call"]["args"]["days"], int)
    assert found["call_finish_reason"] == "tool_calls"
    assert found["streamed_call"]["name"] == "get_weather"
    assert set(found["streamed_call"]["args"]) == {"city", "days"}
    assert found["after_tool"]
    assert found["logprobs"] == [2, 2, 2]


def test_litellm(run: Run, url: str) -> None:
    found = run("litellm_client", url, KEY)
    assert found["whole"] == found["streamed"]
    assert found["awaited"] == [found["whole"]] * 2
    assert "Paris" in found["whole"]
    assert found["finish_reason"] == "stop"
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")
    usage, streamed_usage = found["usage"], found["streamed_usage"]
    assert [usage[each] for each in counts] == [streamed_usage[each] for each in counts]
    assert found["call"]["name"] == "get_weather"
    assert set(found["call"]["arguments"]) == {"city"}
    assert found["call"] == found["streamed_call"]
    assert found["call_finish_reason"] == "tool_calls"
    assert set(found["constrained"]) == {"name", "age"}
    assert found["text"].startswith(" Paris")
    assert (found["refused"], found["unauthorized"]) == (400, 401)


def test_llama_index(run: Run, url: str) -> None:
    found = run("llama_index_openai_like", url, KEY)
    assert found["completed"] == found["completed_stream"]
    assert found["completed"].startswith(" Paris")
    assert found["whole"] == found["streamed"] == found["awaited"]
    assert found["num_chunks"] > 3
    assert found["call"]["name"] == "get_weather"
    assert set(found["call"]["arguments"]) == {"city"}
    assert set(found["city"]) == {"name", "country"}


def test_lm_eval_finds_the_engines_own_log_likelihoods(run: Run, url: str) -> None:
    found = run("lm_eval_tasks", url, KEY, str(QUESTIONS))
    capitals, written = found["capitals"], found["capitals_written"]
    assert len(capitals["samples"]) == len(written["samples"]) == 8
    llm = LLM("smollm2-135m", max_model_len=256, kv_cache_memory="16MiB")
    for sample in capitals["samples"]:
        document = sample["doc"]
        for choice, response in zip(document["choices"], sample["resps"], strict=True):
            [[log_likelihood, is_greedy]] = response
            wanted = score(llm, document["question"], f" {choice}")
            assert (log_likelihood, is_greedy) == (pytest.approx(wanted[0], abs=1e-4), wanted[1])
    best = [
        max(range(3), key=lambda choice: sample["resps"][choice][0][0])
        for sample in capitals["samples"]
    ]
    answers = [sample["doc"]["answer"] for sample in capitals["samples"]]
    num_right = sum(each == answer for each, answer in zip(best, answers, strict=True))
    assert capitals["results"]["acc,none"] == num_right / 8

    questions = [sample["doc"]["question"] for sample in written["samples"]]
    params = SamplingParams(temperature=0.0, max_tokens=12, stop=(".",))
    outputs = llm.generate(questions, params, use_tqdm=False)
    texts = [output.outputs[0].text for output in outputs]
    assert [sample["resps"] for sample in written["samples"]] == [[[text]] for text in texts]


def score(llm: LLM, context: str, continuation: str) -> tuple[float, bool]:
    """The log-likelihood of the continuation, and whether it is what the model would write."""
    num_context = len(llm.get_tokenizer().encode(context))
    params = SamplingParams(max_tokens=1, prompt_logprobs=1)
    [output] = llm.generate([context + continuation], params, use_tqdm=False)
    entries = (output.prompt_logprobs or [])[num_context:]
    assert entries
    known = [entry for entry in entries if entry is not None]
    assert len(known) == len(entries)
    return sum(entry.logprob for entry in known), all(entry.rank == 1 for entry in known)
