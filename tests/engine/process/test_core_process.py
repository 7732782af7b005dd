"""A real child process with a fake core: startup, requests, aborts, idling, and every exit."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from headrace.core.errors import EngineDeadError, MemoryFitError
from headrace.core.generation.outputs import FinishReason
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.config import EngineConfig
from headrace.engine.messages import (
    AbortRequests,
    AddRequest,
    CoreReady,
    FromCore,
    Shutdown,
    StartCore,
    StartupPhase,
    StepOutputs,
    TokenOutput,
)
from headrace.engine.process.core_client import CoreClient
from headrace.engine.process.framing import FrameChannel
from headrace.models.sources.files import ModelFiles
from headrace.testing.fakes.fake_core import FACTORY

FILES = ModelFiles(name="fake", format="huggingface", path=Path("/nowhere"))
DEADLINE_S = 20.0


def config(model: str = "fake", **options: object) -> EngineConfig:
    return EngineConfig(model=model, num_threads=1, **options)  # type: ignore[arg-type]


def request(
    request_id: str,
    num_tokens: int,
    *,
    prompt: list[int] | None = None,
    logprobs: int | None = None,
) -> AddRequest:
    return AddRequest(
        request_id=request_id,
        prompt_token_ids=prompt or [5, 6, 7],
        params=SamplingParams(max_tokens=num_tokens, ignore_eos=True, logprobs=logprobs),
        arrival_time=time.monotonic(),
        choice=0,
        seed=1,
        cache_salt="",
    )


class Listener:
    """Records the core's messages, and notifies waiters."""

    def __init__(self, client: CoreClient) -> None:
        self.steps: list[StepOutputs] = []
        self.death: EngineDeadError | None = None
        self._news = asyncio.Event()
        client.listen(self._on_step, self._on_dead)

    @property
    def outputs(self) -> list[TokenOutput]:
        return [output for step in self.steps for output in step.outputs]

    def tokens_of(self, request_id: str) -> list[int]:
        return [t for o in self.outputs if o.request_id == request_id for t in o.token_ids]

    def ended(self, request_id: str) -> FinishReason | None:
        reasons = [o.finish_reason for o in self.outputs if o.request_id == request_id]
        return reasons[-1] if reasons else None

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def _on_step(self, step: StepOutputs) -> None:
        self.steps.append(step)
        self._news.set()

    def _on_dead(self, error: EngineDeadError) -> None:
        self.death = error
        self._news.set()


@asynccontextmanager
async def running_core(
    model: str = "fake", **options: object
) -> AsyncIterator[tuple[CoreClient, Listener]]:
    client = await CoreClient.spawn(1, FACTORY)
    try:
        listener = Listener(client)
        await client.start(config(model, **options), FILES)
        yield client, listener
    finally:
        await client.kill()


def run(test: Awaitable[None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(2 * DEADLINE_S):
            await test

    asyncio.run(limited())


def test_start_reports_phases_and_settings_and_shutdown_exits_with_0() -> None:
    async def test() -> None:
        client = await CoreClient.spawn(1, FACTORY)
        try:
            phases: list[StartupPhase] = []
            ready = await client.start(config(max_model_len=128), FILES, phases.append)
            assert [(p.name, p.done, p.total) for p in phases] == [
                ("pretend", 0, 0),
                ("pretend", 1, 2),
                ("pretend", 0, 0),
            ]
            assert phases[0].seconds is None
            assert phases[2].seconds is not None
            assert ready.max_model_len == 128
            assert ready.settings == [("model", "fake", "a fake")]
            assert await client.shutdown() == 0
            assert client.dead_error is None
        finally:
            await client.kill()

    run(test())


def test_requests_are_computed_and_accounted_for() -> None:
    async def test() -> None:
        async with running_core() as (client, listener):
            for i in range(20):
                client.send(request(f"r{i}", 5 + i))
            await listener.until(lambda: all(listener.ended(f"r{i}") for i in range(20)))
            for i in range(20):
                assert len(listener.tokens_of(f"r{i}")) == 5 + i
                assert listener.ended(f"r{i}") == FinishReason.LENGTH
            last = {o.request_id: o for o in listener.outputs}
            for output in last.values():
                times = output.times
                assert times is not None
                assert times.arrival <= times.queued <= times.scheduled
                assert times.scheduled <= times.first_token <= times.last_token
            assert listener.steps[-1].stats.num_running == 0
            assert listener.steps[-1].stats.num_used_blocks == 0

    run(test())


def test_an_abort_frees_the_blocks_at_once() -> None:
    async def test() -> None:
        async with running_core("fake?step_s=0.005") as (client, listener):
            client.send(request("long", 1500))
            await listener.until(lambda: len(listener.tokens_of("long")) >= 3)
            assert listener.steps[-1].stats.num_used_blocks > 0
            client.send(AbortRequests(["long", "unknown"]))
            await listener.until(lambda: listener.steps[-1].stats.num_running == 0)
            assert listener.steps[-1].stats.num_used_blocks == 0
            assert len(listener.tokens_of("long")) < 1500

    run(test())


def test_an_invalid_request_fails_alone() -> None:
    async def test() -> None:
        async with running_core("fake?vocab_size=100") as (client, listener):
            client.send(request("bad", 4, prompt=[100]))
            client.send(request("good", 4))
            await listener.until(lambda: bool(listener.ended("good") and listener.ended("bad")))
            assert listener.ended("bad") == FinishReason.ERROR
            assert len(listener.tokens_of("good")) == 4

    run(test())


def damaged(message: AddRequest, **fields: object) -> list[object]:
    """The encoded message, with some fields that are invalid in an AddRequest."""
    names = AddRequest.__struct_fields__
    wire: list[object] = msgspec.msgpack.decode(msgspec.msgpack.encode(message))
    for name, value in fields.items():
        wire[1 + names.index(name)] = value
    return wire


def params_on_the_wire(**fields: object) -> dict[str, object]:
    params: dict[str, object] = msgspec.to_builtins(SamplingParams())
    return {**params, **fields}


@pytest.mark.parametrize(
    "fields",
    [
        {"params": params_on_the_wire(repetition_penalty=1e-46)},
        {"params": params_on_the_wire(unheard_of=1)},
        {"params": params_on_the_wire(stop=[7])},
        {"params": None},
        {"prompt_token_ids": ["a"]},
        {"prompt_token_ids": []},
        {"prompt_token_ids": [1000]},
        {"params": params_on_the_wire(max_tokens=10**6)},
        {"choice": 1.5},
        {"cache_salt": None},
    ],
    ids=str,
)
def test_an_undecodable_request_fails_alone(raw_core: "RawCore", fields: dict[str, object]) -> None:
    process, ours = raw_core
    channel = FrameChannel(ours)
    send(channel, StartCore(config(), "fake", "huggingface", "/nowhere"))
    receive_until(channel, CoreReady)
    send(channel, damaged(request("bad", 3), **fields), request("good", 3))
    failed: list[TokenOutput] = []
    num_good = 0
    decoder = msgspec.msgpack.Decoder(FromCore)
    while num_good < 3 or not failed:
        for frame in channel.receive(wait=True):
            step = decoder.decode(frame)
            assert isinstance(step, StepOutputs)
            failed += [output for output in step.outputs if output.request_id == "bad"]
            num_good += sum(len(o.token_ids) for o in step.outputs if o.request_id == "good")
    (output,) = failed
    assert output.finish_reason is FinishReason.ERROR
    assert output.failure is not None
    send(channel, Shutdown())
    assert process.wait(DEADLINE_S) == 0


def test_an_idle_core_sleeps() -> None:
    async def test() -> None:
        async with running_core() as (client, listener):
            client.send(request("one", 3))
            await listener.until(lambda: listener.ended("one") is not None)
            core = psutil.Process(client.pid)
            before = core.num_ctx_switches().voluntary, core.cpu_times()
            # Not a wait for something: the time in which a polling core would show itself.
            await asyncio.sleep(0.3)
            after = core.num_ctx_switches().voluntary, core.cpu_times()
            assert after[0] - before[0] <= 2
            assert after[1].user + after[1].system - before[1].user - before[1].system < 0.05

    run(test())


def test_kill_9_is_reported_with_its_signal() -> None:
    async def test() -> None:
        async with running_core("fake?step_s=0.005") as (client, listener):
            client.send(request("long", 1500))
            await listener.until(lambda: bool(listener.outputs))
            os.kill(client.pid, signal.SIGKILL)
            error = await client.wait_dead()
            assert error.exit_code == -signal.SIGKILL
            assert listener.death is error
            assert client.dead_error is error
            with pytest.raises(EngineDeadError):
                client.send(request("late", 1))

    run(test())


def test_a_step_that_fails_is_reported_with_its_error(capfd: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        async with running_core("fake?fail_at_step=3") as (client, listener):
            client.send(request("one", 10))
            error = await client.wait_dead()
            assert "MemoryError: the fake has no memory left" in str(error)
            assert len(listener.tokens_of("one")) == 2  # earlier tokens were delivered

    run(test())
    assert "Traceback" in capfd.readouterr().err


def test_a_failed_start_raises_the_cores_error(capfd: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        client = await CoreClient.spawn(1, FACTORY)
        try:
            with pytest.raises(MemoryFitError, match="Take a smaller fake"):
                await client.start(config("fake?fail_at_start=1"), FILES)
        finally:
            await client.kill()

    run(test())
    capfd.readouterr()


def test_a_core_killed_during_startup_is_reported_dead() -> None:
    async def test() -> None:
        client = await CoreClient.spawn(1, FACTORY)
        try:

            def kill(_: StartupPhase) -> None:
                os.kill(client.pid, signal.SIGKILL)

            with pytest.raises(EngineDeadError) as killed:
                await client.start(config("fake?start_s=60"), FILES, kill)
            assert killed.value.exit_code == -signal.SIGKILL
        finally:
            await client.kill()

    run(test())


def test_sigint_and_sigterm_are_ignored_by_the_core() -> None:
    async def test() -> None:
        async with running_core() as (client, listener):
            os.kill(client.pid, signal.SIGINT)
            os.kill(client.pid, signal.SIGTERM)
            client.send(request("one", 3))
            await listener.until(lambda: listener.ended("one") is not None)

    run(test())


@pytest.fixture
def raw_core() -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """A core process on a bare socket, for faulty parents."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [
            sys.executable,
            "-m",
            "headrace.engine.process.core_process",
            "--factory",
            FACTORY,
        ]
        process = subprocess.Popen(
            [*command, "--fd", str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
    try:
        yield process, ours
    finally:
        ours.close()
        process.kill()
        process.wait()


def send(channel: FrameChannel, *messages: object) -> None:
    for message in messages:
        channel.send(msgspec.msgpack.encode(message))


def receive_until(channel: FrameChannel, kind: type) -> None:
    decoder = msgspec.msgpack.Decoder(FromCore)
    while not any(isinstance(decoder.decode(f), kind) for f in channel.receive(wait=True)):
        pass


RawCore = tuple[subprocess.Popen[bytes], socket.socket]


def test_the_core_exits_when_its_parent_ends(raw_core: RawCore) -> None:
    process, ours = raw_core
    channel = FrameChannel(ours)
    send(channel, StartCore(config(), "fake", "huggingface", "/nowhere"))
    receive_until(channel, CoreReady)
    ours.close()
    assert process.wait(DEADLINE_S) == 1


def test_the_core_exits_during_a_long_step(raw_core: RawCore) -> None:
    process, ours = raw_core
    channel = FrameChannel(ours)
    model = "fake?step_s=600"
    send(channel, StartCore(config(model), "fake", "huggingface", "/nowhere"))
    receive_until(channel, CoreReady)
    send(channel, request("one", 3))
    ours.close()
    assert process.wait(DEADLINE_S) == 1


def test_the_core_exits_during_startup(raw_core: RawCore) -> None:
    process, ours = raw_core
    channel = FrameChannel(ours)
    model = "fake?start_s=600"
    send(channel, StartCore(config(model), "fake", "huggingface", "/nowhere"))
    receive_until(channel, StartupPhase)
    ours.close()
    assert process.wait(DEADLINE_S) == 1


def test_a_parent_that_does_not_read_does_not_stall_the_core(raw_core: RawCore) -> None:
    process, ours = raw_core
    channel = FrameChannel(ours)
    send(channel, StartCore(config(), "fake", "huggingface", "/nowhere"))
    receive_until(channel, CoreReady)
    requests = [request(f"r{i:03}", 100, logprobs=20) for i in range(100)]
    send(channel, *requests)
    # Their output exceeds the kernel's buffers. The core sleeps when all is computed
    # (or when it stalls, which the times below would show).
    core = psutil.Process(process.pid)
    deadline = time.monotonic() + DEADLINE_S
    while not is_asleep(core):
        assert time.monotonic() < deadline
    began_reading = time.monotonic()

    decoder = msgspec.msgpack.Decoder(FromCore)
    num_tokens = 0
    num_finished = 0
    while num_finished < len(requests):
        for frame in channel.receive(wait=True):
            message = decoder.decode(frame)
            assert isinstance(message, StepOutputs)
            for output in message.outputs:
                num_tokens += len(output.token_ids)
                if output.finish_reason is not None:
                    num_finished += 1
                    assert output.times is not None
                    assert output.times.last_token < began_reading
    assert num_tokens == 100 * 100
    send(channel, Shutdown())
    assert process.wait(DEADLINE_S) == 0


def is_asleep(process: psutil.Process) -> bool:
    """Whether it sleeps in the kernel, and used no CPU time between two samples."""
    before = process.cpu_times()
    time.sleep(0.3)
    after = process.cpu_times()
    used_none = (before.user, before.system) == (after.user, after.system)
    return used_none and process.status() == psutil.STATUS_SLEEPING
