"""What the documents show a user doing, from the first command to the last, with a real model."""

import json
import urllib.request
from collections import Counter
from pathlib import Path

import openai
import pytest

from headrace.testing.processes.platform_process import PlatformProcess

pytestmark = pytest.mark.xdist_group("platforms")

REVISION_V1 = """\
message: SmolLM2-135M-Instruct on Headrace
image: quay.io/example/torch:2.2.0-cuda12.3-r3
resources:
  name: gpu-a10g-small
run: headrace serve smollm2-135m --port 3000 --max-model-len 512 --kv-cache-memory 64MiB
autoscaling:
  min: 1
  max: 3
  metric: gpu
  target: 60
ports:
  - port: 3000
    name: openllm
    type: http
"""
REVISION_V2 = REVISION_V1.replace("512", "1024").replace(
    "SmolLM2-135M-Instruct on Headrace", "Extend max model length on SmolLM2-135M-Instruct"
)
GATEWAY_V1 = """\
# gateway-v1.yaml

enabled: true
targets:
- number: {number}
  port: 3000
  weight: 100
"""
GATEWAY_V2 = """\
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


def ask(platform: PlatformProcess, host: str | None = "openllm.localhost") -> str:
    base_url = platform.url if host else f"{platform.url}/openllm"
    headers = {"Host": f"{host}:{platform.port}"} if host else None
    with openai.OpenAI(
        base_url=f"{base_url}/v1", api_key="none", default_headers=headers, max_retries=0
    ) as client:
        stream = client.chat.completions.create(
            model="smollm2-135m",
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            max_tokens=16,
            temperature=0,
            stream=True,
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


@pytest.mark.slow
def test_from_a_yaml_file_to_split_traffic(platform: PlatformProcess, tmp_path: Path) -> None:
    for name, text in (
        ("revision-v1.yaml", REVISION_V1),
        ("revision-v2.yaml", REVISION_V2),
        ("gateway-v1.yaml", GATEWAY_V1),
        ("gateway-v2.yaml", GATEWAY_V2),
    ):
        (tmp_path / name).write_text(text)

    platform.run("service", "create", "openllm")
    platform.run("revision", "create", "--serving", "openllm", "-f", "revision-v1.yaml")
    platform.wait_running("openllm", 1, timeout_s=120)
    listing = platform.run("revision", "list", "--serving", "openllm")
    assert "  Number 1\n  Status running\n  Message SmolLM2-135M-Instruct on Headrace" in listing

    read = platform.run("service", "read", "openllm")
    assert "  Enabled False\n  Status success\n  Endpoint (not set)" in read
    assert "  Traffic Targets (empty)" in read

    left = platform.try_run("gateway", "update", "--serving", "openllm", "-f", "gateway-v1.yaml")
    assert left.returncode == 1
    assert left.stderr.startswith("Error: gateway-v1.yaml:5: targets[0].number: ")
    (tmp_path / "gateway-v1.yaml").write_text(GATEWAY_V1.replace("{number}", "1"))
    platform.run("gateway", "update", "--serving", "openllm", "-f", "gateway-v1.yaml")
    read = platform.run("service", "read", "--serving", "openllm")
    assert f"  Endpoint http://openllm.localhost:{platform.port}" in read
    assert "  - ########## 100%:  1 (port 3000)" in read
    assert "Paris" in ask(platform)
    assert "Paris" in ask(platform, host=None)

    shown = platform.run("revision", "read", "-s", "openllm", "-n", "1")
    assert "host" in shown
    assert "on 127.0.0.1:" in shown

    platform.run("revision", "create", "--serving", "openllm", "-f", "revision-v2.yaml")
    updated = platform.run("gateway", "update", "--serving", "openllm", "-f", "gateway-v2.yaml")
    assert "Successfully updated" in updated
    platform.wait_running("openllm", 2, timeout_s=120)
    assert "2 revision(s) found." in platform.run("revision", "list", "--serving", "openllm")
    with platform.client() as client:
        platform.wait_until(
            lambda: client.gateway("openllm").status == "success", "traffic is split"
        )
    read = platform.run("service", "read", "openllm")
    assert "  - #####       50%:  1 (port 3000)\n  - #####       50%:  2 (port 3000)" in read
    num_before = requests_by_revision(platform)
    for _ in range(6):
        assert "Paris" in ask(platform)
    num_after = requests_by_revision(platform)
    assert {number: num_after[number] - num_before[number] for number in (1, 2)} == {1: 3, 2: 3}

    platform.run("revision", "terminate", "--serving", "openllm", "-n", "1")
    assert "Paris" in ask(platform)
    read = platform.run("service", "read", "openllm")
    assert "  - ########## 100%:  2 (port 3000)" in read
    platform.run("revision", "terminate", "--serving", "openllm", "-n", "2")
    with platform.client() as client:
        platform.wait_until(
            lambda: {one.status for one in client.revisions("openllm")} == {"terminated"},
            "both revisions are terminated",
        )


def requests_by_revision(platform: PlatformProcess) -> Counter[int]:
    with urllib.request.urlopen(f"{platform.admin_url}/stats", timeout=60) as answer:
        revisions = json.load(answer)["revisions"]
    return Counter(
        {
            int(key.removeprefix("openllm/")): value["num_requests_total"]
            for key, value in revisions.items()
            if key.startswith("openllm/")
        }
    )
