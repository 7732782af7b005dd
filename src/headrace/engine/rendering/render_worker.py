"""The parent's side of one rendering process: start it, give it one job at a time, end it.

Lives on one asyncio loop. Knows no queue; renderer.py decides which job goes where.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress

import msgspec

from headrace.engine.rendering.messages import (
    HEADER_BYTES,
    Ready,
    Reply,
    StartRendering,
    content_length,
    encode_message,
)
from headrace.engine.rendering.prompt_template import (
    MAX_PROMPT_CHARS,
    RenderJob,
    TemplateDefinition,
)

_START_TIMEOUT_S = 60.0
_MAX_REPLY_BYTES = 4 * MAX_PROMPT_CHARS + 1024
_ENVIRONMENT = ("LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TZ", "VIRTUAL_ENV")
"""Variables that the process is given. Others, such as keys, are none of a template's business."""


class WorkerLostError(Exception):
    """The process ended, or broke off, before it had answered."""


class RenderWorker:
    """One process with one template."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._decoder: msgspec.msgpack.Decoder[Ready | Reply] = msgspec.msgpack.Decoder(
            Ready | Reply
        )

    @classmethod
    async def start(cls, definition: TemplateDefinition, timeout_s: float) -> "RenderWorker":
        """Run the process and wait until it can render; raises WorkerLostError. Jobs that take
        longer than ``timeout_s`` end it from within."""
        command = (sys.executable, "-P", "-m", "headrace.engine.rendering.render_process")
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {name: os.environ[name] for name in os.environ if name.startswith("LC_")}
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await worker._exchange(encode_message(StartRendering(definition, timeout_s)))
        except TimeoutError as error:
            await worker.kill()
            raise WorkerLostError from error
        except BaseException:
            await worker.kill()
            raise
        return worker

    async def render(self, job: RenderJob) -> Reply:
        """Send one job and wait for its reply; raises WorkerLostError. After an error or a
        cancellation the worker is of no more use: kill it."""
        reply = await self._exchange(encode_message(job))
        if isinstance(reply, Ready):
            raise WorkerLostError
        return reply

    async def _exchange(self, frame: bytes) -> Ready | Reply:
        reader, writer = self._process.stdout, self._process.stdin
        assert reader is not None
        assert writer is not None
        try:
            writer.write(frame)
            length = content_length(await reader.readexactly(HEADER_BYTES))
            if length > _MAX_REPLY_BYTES:
                raise WorkerLostError
            return self._decoder.decode(await reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError, msgspec.MsgspecError) as error:
            raise WorkerLostError from error

    async def kill(self) -> None:
        """End the process at once."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
