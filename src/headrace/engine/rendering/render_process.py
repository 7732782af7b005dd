"""A process that renders chat templates: ``python -m headrace.engine.rendering.render_process``.

A template is code that comes with a model. If it loops or allocates without end, only this process
is affected. It reads frames from stdin, writes frames to stdout, and ends with its parent: when
idle, at the end of stdin; within a job, at the job's time limit.
"""

import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from headrace.core.errors import InvalidParameterError, InvalidRequestError
from headrace.engine.rendering.messages import (
    HEADER_BYTES,
    Ready,
    Rejected,
    Rendered,
    Reply,
    StartRendering,
    content_length,
    encode_message,
)
from headrace.engine.rendering.prompt_template import PromptTemplate, RenderJob

MAX_MEMORY_BYTES = 1024**3
"""Limit of the address space, the interpreter's own included."""


def main() -> int:
    """Serve jobs until stdin ends; returns the exit code."""
    # Ctrl-C and SIGTERM reach the whole group: the parent drains, then closes stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/comm").write_text("headrace-render")
    _limit_memory()
    source, target = sys.stdin.buffer, sys.stdout.buffer
    first = _read_frame(source)
    if first is None:
        return 0
    start = msgspec.msgpack.decode(first, type=StartRendering)
    template = PromptTemplate(start.definition)
    _set_alarm(start.timeout_s)
    with suppress(InvalidRequestError):  # each job reports it again
        template.check_syntax()
    _set_alarm(0)
    _write(target, encode_message(Ready()))
    while (frame := _read_frame(source)) is not None:
        _set_alarm(start.timeout_s)
        reply = _encoded_reply(template, frame)
        _set_alarm(0)
        _write(target, reply)
    return 0


def _encoded_reply(template: PromptTemplate, frame: bytes) -> bytes:
    try:
        return encode_message(_render(template, msgspec.msgpack.decode(frame, type=RenderJob)))
    except MemoryError:
        return encode_message(Rejected("The chat template needs too much memory."))


def _render(template: PromptTemplate, job: RenderJob) -> Reply:
    try:
        return Rendered(template.render(job))
    except InvalidParameterError as error:
        return Rejected(str(error).removeprefix(f"{error.param}: "), error.param)
    except InvalidRequestError as error:
        return Rejected(str(error))


def _read_frame(source: BinaryIO) -> bytes | None:
    """The next frame's content; None at the end of the stream."""
    header = source.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    content = source.read(content_length(header))
    return content if len(content) == content_length(header) else None


def _write(target: BinaryIO, frame: bytes) -> None:
    target.write(frame)
    target.flush()


def _limit_memory() -> None:
    with suppress(ImportError, OSError, ValueError):  # not every system has such limits
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = MAX_MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MAX_MEMORY_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _set_alarm(after_s: float) -> None:
    """End this process in ``after_s`` seconds, even within a call that never returns; 0: never."""
    signal.setitimer(signal.ITIMER_REAL, after_s)  # SIGALRM ends a process that does not handle it


if __name__ == "__main__":
    sys.exit(main())
