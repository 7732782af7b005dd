"""The core's loop over a socket pair, in this process."""

import socket
import threading
from pathlib import Path

import msgspec

from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.config import EngineConfig
from headrace.engine.messages import (
    AddRequest,
    CoreReady,
    FromCore,
    Shutdown,
    StartCore,
    StepOutputs,
)
from headrace.engine.process.core_process import CoreServer
from headrace.engine.process.framing import FrameChannel
from headrace.engine.startup import Report, StartedCore
from headrace.models.sources.files import ModelFiles
from headrace.scheduler.output import RunnerOutput, SchedulerOutput
from headrace.testing.fakes.fake_core import build

DEADLINE_S = 20.0


class Steps:
    """Makes a fake core whose steps end one by one, as the test allows."""

    def __init__(self) -> None:
        self.num_allowed = threading.Semaphore(0)

    def start(self, config: EngineConfig, files: ModelFiles, report: Report) -> StartedCore:
        started = build(config, files, report)
        inner = started.core._runner
        num_allowed = self.num_allowed

        class Runner:
            def execute(self, step: SchedulerOutput) -> RunnerOutput:
                if step:
                    assert num_allowed.acquire(timeout=DEADLINE_S)
                return inner.execute(step)

        started.core._runner = Runner()
        return started


def receive(channel: FrameChannel, kind: type[FromCore]) -> list[FromCore]:
    """The messages up to the first of this kind, which is the last one."""
    messages: list[FromCore] = []
    while not messages or not isinstance(messages[-1], kind):
        frames = channel.receive(wait=True)
        messages += [msgspec.msgpack.decode(frame, type=FromCore) for frame in frames]
    return messages


def test_outputs_are_sent_while_the_next_step_is_computed() -> None:
    steps = Steps()
    ours, theirs = socket.socketpair()
    ours.settimeout(DEADLINE_S)
    channel = FrameChannel(ours)
    server = CoreServer(FrameChannel(theirs), steps.start)
    thread = threading.Thread(target=server.run)
    thread.start()
    encode = msgspec.msgpack.encode
    config = EngineConfig(model="fake", num_threads=1)
    files = ModelFiles(name="fake", format="huggingface", path=Path("/nowhere"))
    channel.send(encode(StartCore(config, files.name, files.format, str(files.path))))
    assert receive(channel, CoreReady)
    params = SamplingParams(max_tokens=3, ignore_eos=True)
    channel.send(encode(AddRequest("a", [5, 6, 7], params, 0.0, 0, 1, "")))
    for number in range(3):
        steps.num_allowed.release()
        # Only this step may have ended: the output comes although the next one has not.
        (message,) = receive(channel, StepOutputs)
        assert isinstance(message, StepOutputs)
        (output,) = message.outputs
        assert len(output.token_ids) == 1
        assert (output.finish_reason is not None) == (number == 2)
    channel.send(encode(Shutdown()))
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    ours.close()
    theirs.close()
