"""The run that the documents show, with a small server in place of vLLM."""

import asyncio
import subprocess
import urllib.request
from pathlib import Path

from headrace.control.operations.runs import (
    reproduce_run,
    terminate_run,
)
from headrace.control.processes.ports import find_free_port
from headrace.control.resources import RunState
from headrace.testing.processes.controlled_runs import ControlledRuns

SERVER = """\
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["MODEL_NAME"].encode())
    def log_message(self, *arguments):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
VLLM_RUN = """\
# vllm-run.yaml
name: vllm-server
description: LLM server with vLLM and Prometheus monitoring
tags:
  - vllm
resources: # Resource requirements
  cluster: vessl-gcp-oregon
  preset: gpu-l4-small-spot
image: quay.io/vessl-ai/torch:2.3.1-cuda12.1-r5 # Container image
import: # Code, data, or model to import
  /code/:
    git:
      url: file://{repository}
      ref: main
run:
  - command: |- # Command to run the API server
      python server.py {second} &
      python server.py {first}
    workdir: /code/vllm-run
ports: # Endpoint configuration
  - name: vllm
    type: http
    port: {first}
  - name: prometheus
    type: http
    port: {second}
env: # Environment variables
  MODEL_NAME: hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4
  HF_TOKEN: HF_TOKEN # Your Huggingface API token
"""


def fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        return str(answer.read().decode())


def answers(port: int) -> bool:
    try:
        return bool(fetch(port))
    except OSError:
        return False


def test_the_documents_run_is_served_and_reproduced(runs: ControlledRuns, tmp_path: Path) -> None:
    """vllm-run.yaml word for word, but for the address of the repository and the server in it."""
    repository = tmp_path / "repository"
    (repository / "vllm-run").mkdir(parents=True)
    (repository / "vllm-run" / "server.py").write_text(SERVER)
    for arguments in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-qm", "server")):
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        subprocess.run(["git", "-C", str(repository), *identity, *arguments], check=True)
    first = find_free_port()
    second = find_free_port({first})
    run_id = runs.create_from(VLLM_RUN.format(repository=repository, first=first, second=second))
    model = "hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4"

    async def story() -> None:
        await runs.until_state(run_id, RunState.RUNNING)
        run = runs.read(run_id)
        assert run.host_ports == {first: first, second: second}
        await runs.until(lambda: answers(first) and answers(second))
        assert await asyncio.to_thread(fetch, first) == model
        assert f"Imported file://{repository} at " in runs.events(run_id)["running"]

        again_id = reproduce_run(runs.store, run_id, runs.now()).run_id
        await runs.until_state(again_id, RunState.RUNNING)
        again = runs.read(again_id)
        assert again.spec == run.spec
        assert again.reproduced_from == run_id
        other = again.host_ports[first]
        assert other not in (first, second)
        await runs.until(lambda: answers(other))
        assert await asyncio.to_thread(fetch, other) == model

        for one in (run_id, again_id):
            terminate_run(runs.store, one, runs.now())
        for one in (run_id, again_id):
            assert (await runs.until_over(one)).state is RunState.TERMINATED
        assert not answers(first)
        assert not answers(other)

    runs.go(story)
