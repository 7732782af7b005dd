"""The parent's side of the engine core's process: starts it, exchanges messages, detects its end.

Belongs to one asyncio loop and never blocks it.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from headrace.core import errors
from headrace.core.errors import EngineDeadError, HeadraceError
from headrace.engine.config import EngineConfig
from headrace.engine.hardware.cpus import choose_num_threads
from headrace.engine.messages import (
    AdapterLoaded,
    CoreFailed,
    CoreReady,
    FromCore,
    Shutdown,
    StartCore,
    StartupPhase,
    StepOutputs,
    ToCore,
)
from headrace.engine.process.framing import FrameDecoder, encode_frame, widen_buffers
from headrace.models.sources.files import ModelFiles

DEFAULT_FACTORY = "headrace.engine.startup:start_core"

_EXIT_TIMEOUT_S = 10.0
"""Time from the end of the connection, or a Shutdown, to SIGKILL."""

_START_ERRORS = frozenset(
    {
        "InvalidInputError",
        "MemoryFitError",
        "ModelError",
        "ModelFileError",
        "ModelNotFoundError",
        "UnsupportedModelError",
    }
)
"""Errors of core.errors that are raised here again, with the text from the core."""


class CoreClient:
    """One core process. ``spawn``, then ``start``, then ``send`` until ``shutdown``."""

    def __init__(self, process: subprocess.Popen[bytes], transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        self._process = process
        self._transport = transport
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(FromCore)
        self._ready: asyncio.Future[CoreReady] = loop.create_future()
        self._dead: asyncio.Future[EngineDeadError] = loop.create_future()
        self._ended: asyncio.Task[None] | None = None
        self._failure: CoreFailed | None = None
        self._shutting_down = False
        self._on_phase: Callable[[StartupPhase], None] = _ignore
        self._on_outputs: Callable[[StepOutputs], None] = _ignore
        self._on_dead: Callable[[EngineDeadError], None] = _ignore
        self._on_adapter: Callable[[AdapterLoaded], None] = _ignore

    @classmethod
    async def spawn(
        cls, num_threads: int | None = None, factory: str = DEFAULT_FACTORY
    ) -> "CoreClient":
        """Start the process, which begins to import; ``start`` sends it the model to serve."""
        ours, theirs = socket.socketpair()
        widen_buffers(ours)
        ours.setblocking(False)
        with theirs:
            try:
                process = _run_core(theirs.fileno(), num_threads, factory)
            except BaseException:
                ours.close()
                raise
        protocol = _FrameProtocol()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(lambda: protocol, sock=ours)
        client = cls(process, transport)
        protocol.on_frame = client._receive
        protocol.on_lost = client._lost
        return client

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def dead_error(self) -> EngineDeadError | None:
        """Why the process ended unexpectedly; None if it did not."""
        return self._dead.result() if self._dead.done() else None

    async def wait_dead(self) -> EngineDeadError:
        """Wait until the process ends unexpectedly."""
        return await asyncio.shield(self._dead)

    async def start(
        self,
        config: EngineConfig,
        files: ModelFiles,
        on_phase: Callable[[StartupPhase], None] | None = None,
    ) -> CoreReady:
        """Send the core its configuration and wait until it is ready; raises the startup error."""
        self._on_phase = on_phase or _ignore
        self._send(StartCore(config, files.name, files.format, str(files.path)))
        outcomes: list[asyncio.Future[Any]] = [self._ready, self._dead]
        await asyncio.wait(outcomes, return_when=asyncio.FIRST_COMPLETED)
        if self._ready.done():
            return self._ready.result()
        raise _start_error(self._failure) or self._dead.result()

    def listen(
        self,
        on_outputs: Callable[[StepOutputs], None],
        on_dead: Callable[[EngineDeadError], None],
        on_adapter: Callable[[AdapterLoaded], None] = lambda _: None,
    ) -> None:
        """Set the callbacks for each step, for an unexpected end of the process, and for the answer
        to each LoadAdapter."""
        self._on_outputs = on_outputs
        self._on_dead = on_dead
        self._on_adapter = on_adapter

    def send(self, message: ToCore) -> None:
        """Send one message without waiting; raises EngineDeadError if the process has ended."""
        if self._dead.done():
            raise self._dead.result()
        self._send(message)

    async def shutdown(self, timeout_s: float = _EXIT_TIMEOUT_S) -> int:
        """Ask the core to exit, and kill it after ``timeout_s``; returns its exit code."""
        self._shutting_down = True
        if not self._transport.is_closing():
            self._send(Shutdown())
        if self._ended is not None:
            await self._ended
        return await self._end(timeout_s)

    async def kill(self) -> None:
        """Kill the process; a pending ``start`` is cancelled."""
        self._shutting_down = True
        self._ready.cancel()
        with suppress(ProcessLookupError):
            self._process.kill()
        if self._ended is not None:
            await self._ended
        await self._end(_EXIT_TIMEOUT_S)

    def _send(self, message: ToCore | StartCore) -> None:
        self._transport.write(encode_frame(self._encoder.encode(message)))

    def _receive(self, frame: bytes) -> None:
        match self._decoder.decode(frame):
            case StepOutputs() as outputs:
                self._on_outputs(outputs)
            case StartupPhase() as phase:
                self._on_phase(phase)
            case AdapterLoaded() as loaded:
                self._on_adapter(loaded)
            case CoreReady() as ready:
                if not self._ready.done():
                    self._ready.set_result(ready)
            case CoreFailed() as failure:
                self._failure = failure

    def _lost(self) -> None:
        """The connection is closed: the process is ending or has ended."""
        if not self._shutting_down:
            self._ended = asyncio.get_running_loop().create_task(self._report_death())

    async def _report_death(self) -> None:
        code = await self._end(_EXIT_TIMEOUT_S)
        error = EngineDeadError(_describe_death(code, self._failure), code)
        if not self._dead.done():
            self._dead.set_result(error)
            self._on_dead(error)

    async def _end(self, timeout_s: float) -> int:
        code = await asyncio.to_thread(_wait_or_kill, self._process, timeout_s)
        self._transport.close()
        return code


class _FrameProtocol(asyncio.Protocol):
    """Decodes frames from the loop's reads and passes them on."""

    def __init__(self) -> None:
        self._decoder = FrameDecoder()
        self.on_frame: Callable[[bytes], None] = _ignore
        self.on_lost: Callable[[], None] = lambda: None

    def data_received(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            self.on_frame(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self.on_lost()


def _run_core(fd: int, num_threads: int | None, factory: str) -> subprocess.Popen[bytes]:
    # -P: files in the current directory must not shadow the modules that the core imports.
    command = [sys.executable, "-P", "-m", "headrace.engine.process.core_process"]
    command += ["--fd", str(fd), "--factory", factory]
    return subprocess.Popen(
        command, pass_fds=[fd], stdin=subprocess.DEVNULL, env=_environment(num_threads)
    )


def _environment(num_threads: int | None) -> dict[str, str]:
    """The environment with the thread counts that libraries read when they are imported."""
    environment = dict(os.environ)
    count = str(choose_num_threads(num_threads).num_threads)
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        if num_threads is not None:
            environment[name] = count
        else:
            environment.setdefault(name, count)
    return environment


def _wait_or_kill(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _start_error(failure: CoreFailed | None) -> HeadraceError | None:
    if failure is None or failure.error_type not in _START_ERRORS:
        return None
    error: HeadraceError = getattr(errors, failure.error_type)(failure.message)
    return error


def _describe_death(code: int, failure: CoreFailed | None) -> str:
    if failure is not None:
        return f"The engine core failed: {failure.error_type}: {failure.message}"
    if code >= 0:
        return f"The engine core exited with code {code}; see its messages on stderr."
    hint = ""
    if -code == signal.SIGKILL:
        hint = " The system may have run out of memory (see dmesg)."
    return f"The engine core was killed by signal {-code} ({signal.strsignal(-code)}).{hint}"


def _ignore(_: object) -> None:
    pass
