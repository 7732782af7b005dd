"""A revision with an image, served from a container that `headrace up` starts."""

import json
import urllib.request
from pathlib import Path

import pytest

from headrace.testing.processes.container_runtime import ContainerRuntime
from headrace.testing.processes.platform_process import PlatformProcess

pytestmark = pytest.mark.xdist_group("platforms")

REVISION = """\
image: {image}
run: mkdir /www && echo from $KIND > /www/index.html && exec httpd -f -p 3000 -h /www
env: {{KIND: an image}}
ports: [3000]
"""
GATEWAY = "enabled: true\ntargets: [{number: 1, port: 3000, weight: 100}]\n"


@pytest.mark.slow
def test_a_revision_with_an_image_is_served_from_a_container(
    container_runtime: ContainerRuntime, tmp_path: Path
) -> None:
    (tmp_path / "revision.yaml").write_text(REVISION.format(image=container_runtime.image))
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    with PlatformProcess(tmp_path / "home", env=container_runtime.env, cwd=tmp_path) as platform:
        platform.run("service", "create", "boxed")
        platform.run("revision", "create", "-s", "boxed", "-f", "revision.yaml")
        platform.run("gateway", "update", "-s", "boxed", "-f", "gateway.yaml")
        platform.wait_running("boxed", 1)
        revision = platform.run_json("revision", "read", "-s", "boxed", "-n", "1")
        assert revision["runs_in"] == f"container {container_runtime.image}"
        platform.wait_until(lambda: "boxed/1" in routed(platform), "the gateway follows")
        with urllib.request.urlopen(f"{platform.url}/boxed/index.html", timeout=60) as answer:
            assert answer.read() == b"from an image\n"
        (replica,) = revision["replicas"]
        assert replica["replica_id"] in container_runtime.run("ps", "--format", "{{.Names}}")
    assert container_runtime.run("ps", "--all", "--quiet") == ""


def routed(platform: PlatformProcess) -> set[str]:
    """The revisions that the gateway has routes to."""
    with urllib.request.urlopen(f"{platform.admin_url}/stats", timeout=60) as answer:
        return set(json.load(answer)["revisions"])
