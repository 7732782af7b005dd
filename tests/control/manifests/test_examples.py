"""Whole files: those of the documentation, and walk-throughs written for a paid cloud."""

import re
from pathlib import Path

import pytest

from headrace.control.launchers.commands import command_of
from headrace.control.manifests.fields.ports import substitute_ports
from headrace.control.manifests.gateway import GatewaySpec, parse_gateway
from headrace.control.manifests.parsing.manifest_model import ManifestModel, key_of
from headrace.control.manifests.parsing.problems import ManifestError
from headrace.control.manifests.revision import RevisionSpec, parse_revision
from headrace.control.manifests.run import RunSpec, parse_run

DOCUMENTATION = (Path(__file__).parents[3] / "docs" / "manifests.md").read_text(encoding="utf-8")

PARSERS = {"revision": parse_revision, "gateway": parse_gateway, "run": parse_run}

EXAMPLES = re.findall(r"```yaml\n# (\w+)\.yaml\n(.*?)```", DOCUMENTATION, flags=re.DOTALL)

REVISION = """\
message: LLM server with vendor/model-7b-instruct on an engine
image: registry.example.com/torch:2.2.0-cuda12.3-r3
resources:
  name: gpu-a10g-small
run: pip install --upgrade server[engine]; server start vendor/model-7b-instruct --backend engine --port 3000 --max-model-len 4096
autoscaling:
  min: 1
  max: 3
  metric: gpu
  target: 60
ports:
  - port: 3000
    name: server
    type: http
"""  # noqa: E501

GATEWAY_WITH_PLACEHOLDER = """\
# gateway-v1.yaml

enabled: true
targets:
- number: {number}
  port: 3000
  weight: 100
"""

GATEWAY = """\
# gateway-v2.yaml

enabled: true
targets:
- number: 1
  port: 3000
  weight: 50
- number: 2
  port: 3000
  weight: 50
"""

RUN = """\
# run.yaml
name: llm-server
description: LLM server with an engine and Prometheus monitoring
tags:
  - engine
resources: # Resource requirements
  cluster: cloud-west
  preset: gpu-l4-small-spot
image: registry.example.com/torch:2.3.1-cuda12.1-r5 # Container image
import: # Code, data, or model to import
  /code/:
    git:
      url: github.com/example/examples.git
      ref: main
run:
  - command: |-  # Command to run the API server
      ...
    workdir: /code/llm-run
ports: # Endpoint configuration
  - name: engine
    type: http
    port: 8000
  - name: prometheus
    type: http
    port: 9090
env: # Environment variables
  MODEL_NAME: vendor/Model-8B-Instruct-AWQ-INT4
  HF_TOKEN: HF_TOKEN # Your API token
"""

CACHE = """\
import:
  /root/.cache/models/: vessl-artifact://{ORGANIZATION}/{PROJECT}/models
export:
  /root/.cache/models/: vessl-artifact://{ORGANIZATION}/{PROJECT}/models

run: serve
"""


def test_the_documentation_has_examples_of_each_file() -> None:
    assert {kind for kind, _ in EXAMPLES} == set(PARSERS)
    assert DOCUMENTATION.count("```yaml") == len(EXAMPLES)


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_the_documentations_examples_are_taken(kind: str, text: str) -> None:
    PARSERS[kind](text, f"{kind}.yaml")


@pytest.mark.parametrize("model", [RevisionSpec, GatewaySpec, RunSpec])
def test_every_key_is_documented(model: type[ManifestModel]) -> None:
    keys = [key_of(name, field) for name, field in model.model_fields.items()]
    told = {word for path in re.findall(r"`([\w.]+)", DOCUMENTATION) for word in path.split(".")}
    assert [key for key in keys if key not in told] == []


def test_the_documentation_tells_what_becomes_of_ports() -> None:
    table = re.findall(r"^\| (.*) \| (replaced|unchanged) \|$", DOCUMENTATION, flags=re.MULTILINE)
    commands = [(command, said) for cell, said in table for command in re.findall(r"`(.+?)`", cell)]
    assert len(commands) > 15
    for command, said in commands:
        changed = substitute_ports(f"serve {command}", {3000: 41}) != f"serve {command}"
        assert changed == (said == "replaced"), command


def test_a_walk_throughs_revision() -> None:
    document = parse_revision(REVISION, "revision-v1.yaml")
    spec = document.spec
    assert spec.exposed_port == 3000
    assert (spec.autoscaling.min, spec.autoscaling.max) == (1, 3)
    assert (spec.autoscaling.metric, spec.autoscaling.target) == ("gpu", 60)
    assert len(document.notes) == 1
    command = substitute_ports(command_of(spec), {3000: 40123})
    assert command.endswith("--backend engine --port 40123 --max-model-len 4096")


def test_a_walk_throughs_gateways() -> None:
    spec = parse_gateway(GATEWAY, "gateway-v2.yaml").spec
    assert [(item.number, item.weight) for item in spec.targets] == [(1, 50), (2, 50)]
    with pytest.raises(ManifestError) as caught:
        parse_gateway(GATEWAY_WITH_PLACEHOLDER, "gateway-v1.yaml")
    assert str(caught.value) == (
        "gateway-v1.yaml:5: targets[0].number: `{number}` is a placeholder: set the revision's "
        "number; see `headrace revision list --service ...`"
    )


def test_a_walk_throughs_run() -> None:
    spec = parse_run(RUN, "run.yaml").spec
    assert spec.name == "llm-server"
    assert spec.tags == ("engine",)
    assert [(step.command, step.workdir) for step in spec.run] == [("...", "/code/llm-run")]
    assert [(port.name, port.port) for port in spec.ports] == [
        ("engine", 8000),
        ("prometheus", 9090),
    ]
    assert spec.env["HF_TOKEN"].value == "HF_TOKEN"
    git = spec.imports["/code"].git
    assert git is not None
    assert (git.url, git.ref) == ("https://github.com/example/examples.git", "main")


def test_a_walk_throughs_cache() -> None:
    spec = parse_run(CACHE, "run.yaml").spec
    artifact = spec.imports["/root/.cache/models"].artifact
    assert artifact is not None
    assert artifact.name == spec.artifact_name("/root/.cache/models") == "models"
