import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import httpx2
import psutil
import pytest

from headrace.control import control_loop
from headrace.control.processes.process_group import LAUNCH_NAME_VARIABLE, is_alive
from headrace.control.resources import (
    GatewayStatus,
    ReplicaState,
    RevisionPhase,
    Target,
)
from headrace.control.retention.policy import LogLimit
from headrace.control.store.store import Store
from headrace.core.gateway.stats import TTFT_BUCKETS_S, RevisionStats
from headrace.testing.processes.control_plane import FAST, MOCK, TIMEOUT_S, ControlPlane

MIB = 1024 * 1024
ONE, TWO = Target(1, 3000, 100), Target(2, 3000, 100)
BLOCKING = f"{sys.executable} -m headrace.testing.servers.blocking_server --port 3000"
NO_ANSWERS = (0,) * (len(TTFT_BUCKETS_S) + 1)


def run(home: Path, scenario: Callable[[ControlPlane], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with ControlPlane(home) as plane:
            await scenario(plane)

    asyncio.run(whole())


async def up(plane: ControlPlane, num: int = 1, revision: int = 1) -> None:
    await plane.run_until(lambda: len(plane.ready(revision)) == num)


def test_a_revision_comes_up_takes_traffic_and_each_step_is_an_event(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        number = plane.add_revision(num_desired=2)
        plane.ask_for(ONE)
        await plane.controller.run_pass()
        assert plane.gateway_row().status is GatewayStatus.PENDING
        assert plane.gateway.routed() == {1: set()}  # requests are held
        await up(plane, 2)
        await plane.run_until(lambda: plane.gateway_row().status is GatewayStatus.SUCCESS)
        replicas = plane.ready()
        assert plane.gateway.routed() == {1: {replica.replica_id for replica in replicas}}
        ports = {replica.host_ports[3000] for replica in replicas}
        assert len(ports) == 2
        for what in ("created", "started", "ready"):
            assert sum(f" {what}: " in event for event in plane.events()) == 2
        assert number == 1

    run(tmp_path, scenario)


def test_nothing_is_written_when_nothing_changes(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision()
        plane.ask_for(ONE)
        await up(plane)
        await plane.run_passes()
        version, events = plane.gateway.table.version, plane.events()
        await plane.run_passes(10)
        assert plane.gateway.table.version == version
        assert plane.events() == events

    run(tmp_path, scenario)


def test_traffic_moves_when_the_new_revision_is_ready_and_the_old_one_keeps_running(
    tmp_path: Path,
) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision()
        plane.ask_for(ONE)
        await up(plane)
        go = tmp_path / "go"
        plane.add_revision(f"while [ ! -e {go} ]; do sleep 0.05; done; {MOCK}")
        plane.ask_for(TWO)
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.STARTING)))
        await plane.run_passes()
        assert plane.gateway_row().applied_targets == (ONE,)
        assert "revision 2" in plane.gateway_row().message
        go.touch()
        await plane.run_until(lambda: plane.gateway_row().applied_targets == (TWO,))
        assert plane.gateway_row().status is GatewayStatus.SUCCESS
        assert set(plane.gateway.routed()) == {2}
        assert len(plane.ready(revision=1)) == 1

    run(tmp_path, scenario)


def test_a_scaled_down_replica_is_stopped_only_when_its_work_is_done(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(num_desired=2)
        plane.ask_for(ONE)
        await up(plane, 2)
        await plane.run_until(lambda: len(plane.gateway.routed()[1]) == 2)
        busy, idle = plane.ready()
        plane.gateway.num_outstanding = {busy.replica_id: 3, idle.replica_id: 1}
        plane.gateway.follows = False
        plane.set_num_desired(1, 1)
        await plane.run_until(lambda: plane.gateway.routed()[1] == {busy.replica_id})
        [draining] = plane.replicas(ReplicaState.DRAINING)
        assert draining.replica_id == idle.replica_id  # the least loaded one
        assert draining.process is not None

        plane.gateway.num_outstanding = {}
        await plane.run_passes()
        assert is_alive(draining.process)  # the gateway has not read the new table yet
        plane.gateway.num_outstanding = {idle.replica_id: 1}
        plane.gateway.follows = True
        await plane.run_passes()
        assert is_alive(draining.process)  # it has work
        plane.gateway.num_outstanding = {}
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.STOPPED)))
        assert not is_alive(draining.process)
        assert len(plane.ready()) == 1

    run(tmp_path, scenario)


def test_without_a_gateway_a_replica_drains_for_its_timeout(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(drain_timeout="30s")
        plane.ask_for(ONE)
        await up(plane)
        await plane.run_until(lambda: len(plane.gateway.routed()[1]) == 1)
        await plane.gateway.stop()
        plane.set_num_desired(1, 0)
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.DRAINING)))
        plane.clock.advance(29.9)
        await plane.run_passes()
        assert plane.replicas(ReplicaState.DRAINING)
        plane.clock.advance(0.2)
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.STOPPED)))

    run(tmp_path, scenario)


def test_what_does_not_heed_sigterm_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(f"trap '' TERM; {MOCK} & while true; do sleep 0.1; done")
        await up(plane)
        [replica] = plane.ready()
        assert replica.process is not None
        plane.set_num_desired(1, 0)
        await plane.run_until(lambda: any("stopping" in event for event in plane.events()))
        await plane.run_passes()
        assert is_alive(replica.process)
        plane.clock.advance(10)
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.STOPPED)))
        assert not is_alive(replica.process)
        assert any(" killed: " in event for event in plane.events())

    run(tmp_path, scenario)


def test_a_ready_replica_that_dies_is_replaced_at_once(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision()
        plane.ask_for(ONE)
        await up(plane)
        [first] = plane.ready()
        assert first.process is not None
        os.killpg(first.process.pid, signal.SIGKILL)
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.FAILED)))
        await up(plane)
        [second] = plane.ready()
        assert second.replica_id != first.replica_id
        await plane.run_until(lambda: plane.gateway.routed()[1] == {second.replica_id})

    run(tmp_path, scenario)


async def be_impatient(plane: ControlPlane) -> None:
    """With replicas that are silent."""
    plane.config = replace(FAST, pacing=replace(FAST.pacing, timeout_s=1.0))
    await plane.take_over()


def test_a_replica_that_stands_still_is_killed_and_replaced(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await be_impatient(plane)
        plane.add_revision()
        await up(plane)
        [first] = plane.ready()
        assert first.process is not None
        os.killpg(first.process.pid, signal.SIGSTOP)
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.FAILED)))
        [failed] = plane.replicas(ReplicaState.FAILED)
        assert "stopped by a signal" in (failed.cause or "")
        assert not is_alive(first.process)
        await up(plane)

    run(tmp_path, scenario)


async def ask_blocking(plane: ControlPlane, **asked: str) -> None:
    """Ask the only replica to be busy, or to hang; returns when it has answered."""
    [replica] = plane.ready()
    url = f"http://127.0.0.1:{replica.host_ports[3000]}/v1/completions"
    async with httpx2.AsyncClient(trust_env=False, timeout=None) as client:
        assert (await client.post(url, json=asked)).status_code == 200


async def run_for(plane: ControlPlane, duration_s: float) -> None:
    until_s = asyncio.get_running_loop().time() + duration_s
    await plane.run_until(lambda: asyncio.get_running_loop().time() > until_s)


def test_a_replica_at_work_that_answers_no_probe_is_left_alone_and_told_of_once(
    tmp_path: Path,
) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await be_impatient(plane)
        plane.add_revision(BLOCKING)
        await up(plane)
        before = plane.ready()
        for number in range(2):
            end = tmp_path / f"end{number}"
            asking = asyncio.create_task(ask_blocking(plane, work_until=str(end)))
            await plane.run_until(
                lambda: any(" unresponsive: " in event for event in plane.events())
            )
            await run_for(plane, 4.0)  # if it were not at work, three would be enough
            end.touch()
            await asking
        assert plane.ready() == before
        [told] = [event for event in plane.events() if " unresponsive: " in event]
        assert "is busy" in told

    run(tmp_path, scenario)


def test_a_replica_that_hangs_fails_and_is_replaced(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await be_impatient(plane)
        plane.add_revision(BLOCKING)
        await up(plane)
        asking = asyncio.create_task(ask_blocking(plane, hang_until=str(tmp_path / "never")))
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.FAILED)))
        with pytest.raises(httpx2.HTTPError):
            await asking
        [failed] = plane.replicas(ReplicaState.FAILED)
        assert "3 consecutive probes failed" in (failed.cause or "")
        await up(plane)

    run(tmp_path, scenario)


def test_a_replica_that_the_gateway_hears_of_is_left_alone(tmp_path: Path) -> None:
    """It waits for something else with its event loop, and yet answers one after another."""

    async def scenario(plane: ControlPlane) -> None:
        await be_impatient(plane)
        plane.add_revision(BLOCKING)
        await up(plane)
        [replica] = plane.ready()
        plane.gateway.heard_age_s = {replica.replica_id: 0.0}
        end = tmp_path / "end"
        asking = asyncio.create_task(ask_blocking(plane, hang_until=str(end)))
        await run_for(plane, 5.0)  # if it were not heard of, three would be enough
        end.touch()
        await asking
        assert plane.ready() == [replica]

    run(tmp_path, scenario)


def test_a_replica_at_work_that_says_nothing_for_too_long_fails(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await be_impatient(plane)
        plane.add_revision(BLOCKING)
        await up(plane)
        asking = asyncio.create_task(ask_blocking(plane, work_until=str(tmp_path / "never")))
        with mock.patch.object(control_loop, "_max_unresponsive_s", return_value=2.0):
            await plane.run_until(lambda: bool(plane.replicas(ReplicaState.FAILED)))
        with pytest.raises(httpx2.HTTPError):
            await asking
        [failed] = plane.replicas(ReplicaState.FAILED)
        assert "busy, but no response for" in (failed.cause or "")

    run(tmp_path, scenario)


def test_a_crash_loop_backs_off_says_its_last_words_and_leaves_traffic_where_it_is(
    tmp_path: Path,
) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision()
        plane.ask_for(ONE)
        await up(plane)
        plane.add_revision("echo no such model; exit 3")
        plane.ask_for(TWO)
        num_failed = 0
        for wait_s in (0, 0, 1, 2):
            plane.clock.advance(wait_s + 0.001)
            num_failed += 1
            await plane.run_until(
                lambda: len(plane.replicas(ReplicaState.FAILED, revision=2)) == num_failed  # noqa: B023
            )
        await plane.run_passes()
        assert len(plane.replicas(revision=2)) == num_failed  # the next one is 4 s away
        cause = plane.replicas(revision=2)[-1].cause or ""
        assert "code 3" in cause
        assert "no such model" in cause
        row = plane.gateway_row()
        assert row.status is GatewayStatus.FAILED
        assert "no such model" in row.message
        assert row.applied_targets == (ONE,)

    run(tmp_path, scenario)


def test_the_gateway_is_told_when_a_crash_loop_starts_again(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        def backoff_until() -> float | None:
            return plane.gateway.table.services[0].targets[0].crash_backoff_until

        plane.add_revision("exit 3")
        plane.ask_for(ONE)
        for num_failed, wait_s in enumerate((0, 0, 1), start=1):
            plane.clock.advance(wait_s + 0.001)
            await plane.run_until(
                lambda num=num_failed: len(plane.replicas(ReplicaState.FAILED)) == num
            )
        await plane.run_until(lambda: backoff_until() is not None)
        assert backoff_until() == plane.clock.now.timestamp() + 2
        plane.clock.advance(2.001)
        await plane.run_until(lambda: len(plane.replicas(ReplicaState.FAILED)) == 4)
        await plane.run_until(lambda: backoff_until() == plane.clock.now.timestamp() + 4)
        version = plane.gateway.table.version
        await plane.run_passes()
        assert plane.gateway.table.version == version  # it is written when it changes
        # While it starts, requests are held: it may have been put right.
        plane.clock.advance(4.001)
        await plane.run_until(lambda: backoff_until() is None)

    run(tmp_path, scenario)


def test_a_replica_that_is_never_ready_fails_at_its_deadline(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision("echo loading; sleep 1000", readiness={"timeout": "5m"})
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.STARTING)))
        [starting] = plane.replicas()
        await plane.run_until(lambda: "loading" in Path(str(starting.log_path)).read_text())
        plane.clock.advance(299)
        await plane.run_passes()
        assert not plane.replicas(ReplicaState.FAILED)
        plane.clock.advance(1)
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.FAILED)))
        [failed] = plane.replicas(ReplicaState.FAILED)
        assert "Not ready after 300 s" in (failed.cause or "")
        assert "loading" in (failed.cause or "")

    run(tmp_path, scenario)


def test_a_terminating_revision_drains_and_is_terminated(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(num_desired=2)
        await up(plane, 2)
        with plane.store.begin() as tx:
            tx.set_phase("svc", 1, RevisionPhase.TERMINATING)

        def phase() -> RevisionPhase:
            with plane.store.read() as tx:
                revision = tx.revision("svc", 1)
            assert revision is not None
            return revision.phase

        await plane.run_until(lambda: phase() is RevisionPhase.TERMINATED)
        assert len(plane.replicas(ReplicaState.STOPPED)) == 2

    run(tmp_path, scenario)


def test_a_new_controller_adopts_what_runs_and_starts_nothing(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(num_desired=2)
        plane.ask_for(ONE)
        await up(plane, 2)
        await plane.run_until(lambda: len(plane.gateway.routed()[1]) == 2)
        before, version = plane.ready(), plane.gateway.table.version
        await plane.take_over()
        await plane.run_passes(20)
        assert plane.ready() == before
        assert plane.gateway.table.version == version
        # It goes on looking after them.
        assert before[0].process is not None
        os.killpg(before[0].process.pid, signal.SIGKILL)
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.FAILED)))
        await up(plane, 2)

    run(tmp_path, scenario)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_a_process_that_got_a_replicas_pid_is_neither_adopted_nor_killed(
    tmp_path: Path, bystander: "subprocess.Popen[bytes]"
) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision()
        await up(plane)
        [replica] = plane.ready()
        assert replica.process is not None
        plane.launcher.kill(replica.replica_id, replica.process)
        started_at = float(
            Path(f"/proc/{bystander.pid}/stat").read_text().rpartition(")")[2].split()[19]
        ) / os.sysconf("SC_CLK_TCK")
        with plane.store.begin() as tx:
            recycled = type(replica.process)(pid=bystander.pid, started_at=started_at)
            assert tx.set_replica_process(replica.replica_id, recycled)
        await plane.take_over()
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.FAILED)))
        await up(plane)
        assert bystander.poll() is None

    run(tmp_path, scenario)


def test_a_process_that_was_never_written_down_is_ended_and_replaced(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision()
        await up(plane)
        [replica] = plane.ready()
        assert replica.process is not None
        # The state right after a kill between starting the process and noting it.
        db = Store.open(f"sqlite:///{tmp_path / 'state.db'}")
        with db.begin() as tx:
            tx._connection.exec_driver_sql(
                "UPDATE replicas SET state = 'pending', pid = NULL, process_started_at = NULL"
            )
        db.close()
        await plane.take_over()
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.STOPPED)))
        await up(plane)
        assert not is_alive(replica.process)
        left = [p for p in psutil.process_iter() if _mark(p) == replica.replica_id]
        assert left == []

    run(tmp_path, scenario)


def _mark(process: psutil.Process) -> str | None:
    try:
        mark: str | None = process.environ().get(LAUNCH_NAME_VARIABLE)
    except psutil.Error:
        return None
    return mark


def test_a_database_that_is_away_stops_nothing_for_good_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision()
        plane.ask_for(ONE)
        await up(plane)
        await plane.run_passes()
        table = plane.gateway.table
        database = tmp_path / "state.db"
        plane.store.close()
        database.rename(tmp_path / "away.db")
        database.mkdir()
        with caplog.at_level(logging.ERROR):
            await plane.run_passes(4)
        told = [record for record in caplog.records if "replicas" in record.getMessage()]
        assert len(told) == 1
        assert plane.gateway.table == table
        database.rmdir()
        (tmp_path / "away.db").rename(database)
        plane.set_num_desired(1, 2)
        await up(plane, 2)

    run(tmp_path, scenario)


def test_imports_are_in_place_before_the_command_runs_and_a_missing_one_is_told(
    tmp_path: Path,
) -> None:
    async def scenario(plane: ControlPlane) -> None:
        (tmp_path / "weights").mkdir()
        (tmp_path / "weights" / "name").write_text("mock")
        there, missing = str(tmp_path / "weights"), str(tmp_path / "nowhere")
        plane.add_revision(f"cat /weights/name && {MOCK}", imports={"/weights/": {"path": there}})
        await up(plane)
        plane.add_revision(imports={"/weights/": {"path": missing}})
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.FAILED, revision=2)))
        assert missing in (plane.replicas(revision=2)[0].cause or "")

    run(tmp_path, scenario)


def test_one_bad_revision_leaves_the_others_alone(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision("true", from_another_version=True)
        plane.add_revision(env={"TOKEN": {"secret": "nobody-knows"}})
        plane.add_revision()
        await up(plane, revision=3)
        failed = plane.replicas(ReplicaState.FAILED, revision=2)
        assert "nobody-knows" in (failed[0].cause or "")

    run(tmp_path, scenario)


def test_requests_that_wait_wake_a_revision_and_quiet_puts_it_to_sleep(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        autoscaling = {
            "min": 0,
            "max": 3,
            "metric": "concurrency",
            "target": 2,
            "idle_timeout": "60s",
        }
        plane.add_revision(num_desired=0, autoscaling=autoscaling)
        plane.ask_for(ONE)
        await plane.run_passes()
        assert plane.gateway_row().status is GatewayStatus.SUCCESS
        [service] = plane.gateway.table.services
        assert service.targets[0].scales_from_zero
        assert plane.replicas() == []

        plane.gateway.revisions = {"svc/1": RevisionStats(3, 0, 3, NO_ANSWERS, 0.1)}
        await up(plane, 2)  # and no pass of its own was needed for scaling
        plane.gateway.revisions = {"svc/1": RevisionStats(0, 0, 3, NO_ANSWERS, 61.0)}
        plane.clock.advance(61)
        await plane.run_until(lambda: not plane.ready(), scaling=True)
        await plane.run_until(lambda: len(plane.replicas(ReplicaState.STOPPED)) == 2)
        assert any("scaled: Replicas: 0 -> 2." in event for event in plane.events())
        assert any("scaled: Replicas: 2 -> 0." in event for event in plane.events())

    run(tmp_path, scenario)


def test_queue_time_is_read_from_the_replicas_own_pages(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        page = tmp_path / "metrics"
        page.write_text(
            "vllm:num_requests_waiting 40\n"
            "vllm:request_queue_time_seconds_sum 0\nvllm:request_queue_time_seconds_count 0\n"
        )
        plane.add_revision(
            f"cd {tmp_path} && {sys.executable} -m http.server --bind 127.0.0.1 3000",
            autoscaling={"min": 1, "max": 4, "metric": "queue_time", "target": "2s"},
        )
        await up(plane)
        await plane.controller.run_scaling_pass()
        plane.clock.advance(10)
        await plane.controller.run_scaling_pass()
        await up(plane, 2)
        assert any("queue_time is 10 s" in event for event in plane.events())

    run(tmp_path, scenario)


def test_it_runs_by_itself_until_it_is_stopped_and_leaves_replicas_running(
    tmp_path: Path,
) -> None:
    async def scenario(plane: ControlPlane) -> None:
        running = asyncio.create_task(plane.controller.run())
        plane.add_revision()
        plane.controller.wake()
        async with asyncio.timeout(TIMEOUT_S):
            while not plane.ready():
                await asyncio.sleep(0.02)
        plane.controller.stop()
        async with asyncio.timeout(TIMEOUT_S):
            await running
        [replica] = plane.ready()
        assert replica.process is not None
        assert is_alive(replica.process)

    run(tmp_path, scenario)


def test_a_replica_that_prints_a_lot_and_ends_at_once_leaves_a_bounded_log(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.config = replace(FAST, log_limit=LogLimit(4 * MIB, num_head_bytes=1))
        await plane.take_over()
        plane.add_revision(f"head -c {20 * MIB} /dev/zero; echo; echo the end; exit 3")
        await plane.run_until(lambda: len(plane.replicas(ReplicaState.FAILED)) >= 2)
        for replica in plane.replicas(ReplicaState.FAILED):
            log = Path(replica.log_path or "")
            assert log.stat().st_blocks * 512 <= 4 * MIB
            assert log.stat().st_size > 20 * MIB
            assert "the end" in (replica.cause or "")

    run(tmp_path, scenario)


@pytest.mark.parametrize("inherit_env", [False, True])
def test_a_replica_gets_the_variables_of_its_file_and_no_credential_of_the_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inherit_env: bool
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "operator")
    monkeypatch.setenv("HF_TOKEN", "operator")
    monkeypatch.setenv("HEADRACE_API_TOKEN", "operator")
    monkeypatch.setenv("HF_HOME", "/models")

    async def scenario(plane: ControlPlane) -> None:
        env = {"HF_TOKEN": "of the file", "URL": "http://localhost:${PORT}", "DB_PORT": "3000"}
        plane.add_revision(f"env >{tmp_path}/env; {MOCK}", env=env, inherit_env=inherit_env)
        await up(plane)
        env_seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
        port = plane.ready()[0].host_ports[3000]
        assert env_seen["HF_TOKEN"] == "of the file"
        assert env_seen["HF_HOME"] == "/models"
        assert env_seen["URL"] == f"http://localhost:{port}"
        assert env_seen["DB_PORT"] == "3000"
        assert env_seen["PORT"] == str(port)
        assert ("AWS_SECRET_ACCESS_KEY" in env_seen) is inherit_env
        assert "HEADRACE_API_TOKEN" not in env_seen

    run(tmp_path, scenario)
