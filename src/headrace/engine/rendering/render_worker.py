"""The parent's side of one rendering process: starts it, sends it one job at a time, ends it.

A RenderWorker belongs to one asyncio loop; ``render_once`` needs none. renderer.py schedules jobs.
"""

import asyncio
import os
import socket
import subprocess
import sys

import msgspec

from headrace.core.errors import InvalidParameterError, InvalidRequestError
from headrace.engine.rendering.messages import (
    HEADER_BYTES,
    Ready,
    Rendered,
    Reply,
    StartRendering,
    content_length,
    encode_message,
)
from headrace.engine.rendering.prompt_template import (
    MAX_PROMPT_CHARS,
    PromptTemplate,
    RenderJob,
    TemplateDefinition,
)

RENDER_TIMEOUT_S = 5.0
"""Time limit of one prompt, from when a process starts to render it."""
_START_TIMEOUT_S = 60.0
_MAX_REPLY_BYTES = 4 * MAX_PROMPT_CHARS + 1024
_ENVIRONMENT = ("LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TZ", "VIRTUAL_ENV")
"""The only environment variables of the process, so that templates cannot read keys."""
_COMMAND = (sys.executable, "-P", "-m", "headrace.engine.rendering.render_process")


class WorkerLostError(Exception):
    """The process ended, or its connection broke, before it replied."""


def render_once(definition: TemplateDefinition, job: RenderJob) -> str:
    """Render one prompt: on the caller's thread if that is trivial, else in a process with the
    limits of a server. Raises InvalidRequestError, also when a limit is reached."""
    template = PromptTemplate(definition)
    if template.is_trivial(job):
        return template.render(job)
    frames = encode_message(StartRendering(definition, RENDER_TIMEOUT_S)) + encode_message(job)
    try:
        done = subprocess.run(
            _COMMAND,
            input=frames,
            capture_output=True,
            env=_environment(),
            check=False,
            timeout=_START_TIMEOUT_S,
        )
        [*_, last] = _decode_frames(done.stdout)
    except (subprocess.TimeoutExpired, msgspec.MsgspecError, ValueError):
        last = Ready()
    if isinstance(last, Ready):
        raise InvalidRequestError(
            f"The chat template did not render these messages within {RENDER_TIMEOUT_S:g} s, or "
            "ended the process that rendered them."
        )
    return prompt_of(last)


def prompt_of(reply: Reply) -> str:
    """The prompt; raises InvalidRequestError for a rejected job."""
    if isinstance(reply, Rendered):
        return reply.prompt
    if reply.param is not None:
        raise InvalidParameterError(reply.param, reply.message)
    raise InvalidRequestError(reply.message)


class RenderWorker:
    """One process with one template, at the other end of a socket."""

    # Not asyncio's own subprocess: when its start is cancelled, it may wait for ever for a process
    # that it has not yet connected to.

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self._process = process
        self._connection = connection
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._decoder: msgspec.msgpack.Decoder[Ready | Reply] = msgspec.msgpack.Decoder(
            Ready | Reply
        )

    @classmethod
    async def start(cls, definition: TemplateDefinition, timeout_s: float) -> "RenderWorker":
        """Run the process and wait until it can render; raises WorkerLostError. Jobs that take
        longer than ``timeout_s`` end it from within."""
        worker = cls._spawn()
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                worker._streams = await asyncio.open_connection(sock=worker._connection)
                await worker._exchange(encode_message(StartRendering(definition, timeout_s)))
        except TimeoutError as error:
            await worker.kill()
            raise WorkerLostError from error
        except BaseException:
            await worker.kill()
            raise
        return worker

    @classmethod
    def _spawn(cls) -> "RenderWorker":
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = subprocess.Popen(
                    _COMMAND,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                )
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        return cls(process, ours)

    async def render(self, job: RenderJob) -> Reply:
        """Send one job and wait for its reply; raises WorkerLostError. After an error or a
        cancellation the worker cannot be used again: kill it."""
        reply = await self._exchange(encode_message(job))
        if isinstance(reply, Ready):
            raise WorkerLostError
        return reply

    async def _exchange(self, frame: bytes) -> Ready | Reply:
        assert self._streams is not None
        reader, writer = self._streams
        try:
            writer.write(frame)
            length = content_length(await reader.readexactly(HEADER_BYTES))
            if length > _MAX_REPLY_BYTES:
                raise WorkerLostError
            return self._decoder.decode(await reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError, msgspec.MsgspecError) as error:
            raise WorkerLostError from error

    async def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        if self._streams is not None:
            self._streams[1].transport.abort()
        else:
            self._connection.close()
        # On a thread: the system may need a while to free the memory. It waits to the end even if
        # this task is cancelled.
        await asyncio.to_thread(self._process.wait)


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT or name.startswith("LC_")
    }


def _decode_frames(data: bytes) -> list[Ready | Reply]:
    decoder: msgspec.msgpack.Decoder[Ready | Reply] = msgspec.msgpack.Decoder(Ready | Reply)
    found = []
    while data:
        end = HEADER_BYTES + content_length(data[:HEADER_BYTES])
        found.append(decoder.decode(data[HEADER_BYTES:end]))
        data = data[end:]
    return found
