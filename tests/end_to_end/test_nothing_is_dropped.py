"""Real processes under load while everything around them changes, or dies.

Replicas are `mock_server`s, which answer as fast as is asked and start at once, so that two cores
can bear a load, a gateway, a control plane and a dozen replicas.
"""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from headrace.testing.processes.platform_process import PlatformProcess
from headrace.testing.steady_load import ERROR_EVENT, SteadyLoad

pytestmark = pytest.mark.xdist_group("platforms")

FAULT_S = float(os.environ.get("HEADRACE_TEST_FAULT_S", "15"))
REVISION = """\
message: mock
run: >-
  python -m headrace.testing.servers.mock_server
  --port 3000 --tokens-per-s {rate} --name $HEADRACE_LAUNCH
ports: [3000]
autoscaling:
  min: {min}
  max: {max}
  metric: concurrency
  target: 4
  scale_down_window: 3
"""


class Operator:
    """Does to a service, and to its platform, what operators do."""

    def __init__(self, platform: PlatformProcess, folder: Path, service: str) -> None:
        self._platform = platform
        self._folder = folder
        self.service = service
        self.active: list[int] = []
        self.targets: set[int] = set()
        """Those that get traffic."""
        platform.run("service", "create", service)

    def deploy(self, *, rate: int = 200, min_replicas: int = 1, max_replicas: int = 1) -> int:
        path = self._folder / "revision.yaml"
        path.write_text(REVISION.format(rate=rate, min=min_replicas, max=max_replicas))
        command = ("revision", "create", "-s", self.service, "-f", str(path))
        created = self._platform.run_json(*command)
        self.active.append(created["number"])
        return int(created["number"])

    def split(self, weights: dict[int, int]) -> None:
        path = self._folder / "gateway.yaml"
        lines = [
            f"- {{number: {number}, port: 3000, weight: {weight}}}"
            for number, weight in weights.items()
        ]
        path.write_text("enabled: true\ntargets:\n" + "\n".join(lines) + "\n")
        self._platform.run("gateway", "update", "-s", self.service, "-f", str(path))
        self.targets = set(weights)

    def terminate(self, number: int) -> None:
        self._platform.run("revision", "terminate", "-s", self.service, "-n", str(number))
        self.active.remove(number)
        self.targets.discard(number)

    def expendable(self) -> list[int]:
        """Those without which traffic still has somewhere to go."""
        return [number for number in self.active if self.targets - {number}]

    def kill_control_plane(self) -> None:
        """And wait until the supervisor has it back."""
        pid = self._platform.pid_of("control")
        os.kill(pid, signal.SIGKILL)
        self._platform.wait_until(
            lambda: self._platform.pid_of("control") != pid and self._platform.api_answers(),
            "the control plane is back",
        )

    def ready_pids(self, number: int) -> dict[str, int]:
        """By replica, the process that serves, not the shells around it."""
        pids = {}
        for one in self._platform.revision(self.service, number).replicas:
            if one.state != "ready":
                continue
            with suppress(psutil.NoSuchProcess):  # gone, and the control plane does not know it yet
                for process in psutil.Process(one.pid).children(recursive=True):
                    if "mock_server" in " ".join(process.cmdline()) and not process.children():
                        pids[one.replica_id] = process.pid
        return pids


@pytest.mark.slow
@pytest.mark.soak
def test_changes_under_load_lose_nothing(tmp_path: Path) -> None:
    """Rollouts, scaling, terminations and dead control planes, at random.

    They go on for HEADRACE_TEST_FAULT_S seconds, and until there was a rollout and a dead control
    plane and some replicas answered, which takes longer on a busy machine.
    """
    with PlatformProcess(tmp_path / "home", "--no-containers", cwd=tmp_path) as platform:
        change_under_load(platform, Operator(platform, tmp_path, "words"))


def change_under_load(platform: PlatformProcess, operator: Operator) -> None:
    choice = random.Random(7)
    operator.split({operator.deploy(max_replicas=3): 100})
    platform.wait_running(operator.service, 1)
    done: list[str] = []
    required = {"roll out", "kill"}
    began_s = time.monotonic()
    with SteadyLoad(f"{platform.url}/{operator.service}") as load:
        deadline = time.monotonic() + FAULT_S
        while (
            time.monotonic() < deadline
            or not required <= kinds(done)
            or len(load.outcomes.by_replica) <= 3
        ):
            action = choice.choice(("roll out", "split", "terminate", "scale", "kill"))
            if action in ("roll out", "scale"):
                many = choice.randint(2, 3) if action == "scale" else 1
                number = operator.deploy(min_replicas=many, max_replicas=4)
                operator.split({number: 100})
            elif action == "split" and len(operator.active) > 1:
                first, second = choice.sample(operator.active, 2)
                weight = choice.randint(1, 99)
                operator.split({first: weight, second: 100 - weight})
            elif action == "terminate" and operator.expendable():
                operator.terminate(choice.choice(operator.expendable()))
            elif action == "kill":
                operator.kill_control_plane()
            else:
                continue
            done.append(f"{time.monotonic() - began_s:.1f} {action}")
    assert load.outcomes.failures == [], f"{load.outcomes.summary()}\n{done}\n{platform.logs()}"
    assert load.outcomes.num_ok > 100
    assert len(load.outcomes.by_replica) > 3
    assert required <= kinds(done)


def kinds(done: list[str]) -> set[str]:
    """The actions among these lines, each of which is a time and an action."""
    return {one.partition(" ")[2] for one in done}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda one: one.name)
def test_a_replica_that_dies_is_replaced_and_its_streams_say_so(
    platform: PlatformProcess, tmp_path: Path, number: signal.Signals
) -> None:
    """What was in the middle of a stream ends with an error event; all else is answered."""
    operator = Operator(platform, tmp_path, f"words-{number.name.lower()}")
    revision = operator.deploy(rate=20, min_replicas=2, max_replicas=2)
    operator.split({revision: 100})
    platform.wait_until(lambda: len(operator.ready_pids(revision)) == 2, "two replicas")
    pids = operator.ready_pids(revision)
    with SteadyLoad(f"{platform.url}/{operator.service}", num_tokens=60) as load:
        streams = load.outcomes.streams_under_way
        # Streams of three seconds: two that run now do not both end before the signal comes.
        platform.wait_until(lambda: max(streams.values(), default=0) >= 2, "streams")
        replica = max(streams, key=streams.__getitem__)
        victim = pids[replica]
        os.kill(victim, number)
        platform.wait_until(
            lambda: len(ready := operator.ready_pids(revision)) == 2 and replica not in ready,
            "the replica is replaced",
        )
        num_ok = load.outcomes.num_ok
        platform.wait_until(lambda: load.outcomes.num_ok > num_ok + 40, "the load goes on")
    # Of 16 clients 8 stream, some of them from the victim.
    assert 1 <= len(load.outcomes.failures) <= 8
    assert all(one.startswith(ERROR_EVENT) for one in load.outcomes.failures), (
        load.outcomes.failures
    )
    assert has_ended(victim)


def has_ended(pid: int) -> bool:
    """It is gone, or a zombie whom its parent (or a container's init) may never wait for."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
