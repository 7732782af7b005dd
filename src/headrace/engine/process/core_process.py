"""The engine core's own process: ``python -m headrace.engine.process.core_process --fd N``.

Connects an EngineCore to the socket of its parent. On a Shutdown message it exits with code 0. When
the parent ends it exits at once, whatever it is doing.
"""

import argparse
import faulthandler
import gc
import importlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from headrace.core.errors import AdapterError, HeadraceError
from headrace.core.generation.outputs import FinishReason, RequestFailure
from headrace.core.generation.stats import EngineStats
from headrace.engine.config import EngineConfig
from headrace.engine.engine_core import EngineCore
from headrace.engine.messages import (
    AbortRequests,
    AdapterLoaded,
    AddEndTokens,
    AddRequest,
    CoreFailed,
    FromCore,
    LoadAdapter,
    ResetPrefixCache,
    Shutdown,
    StartCore,
    StepOutputs,
    ToCore,
    TokenOutput,
    UnloadAdapter,
)
from headrace.engine.phase_timer import Report
from headrace.engine.process.framing import FrameChannel, widen_buffers
from headrace.engine.startup import StartedCore
from headrace.models.sources.files import ModelFiles

logger = logging.getLogger(__name__)

_FAILURE_SEND_TIMEOUT_S = 5.0


Factory = Callable[[EngineConfig, ModelFiles, Report], StartedCore]
"""Starts the core: startup.start_core, or a fake's function."""


class CoreServer:
    """Serves one core over one channel, from startup to shutdown."""

    def __init__(self, channel: FrameChannel, factory: Factory) -> None:
        self._channel = channel
        self._factory = factory
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(ToCore)
        self._rejected: list[TokenOutput] = []
        self._unsent: list[StepOutputs] = []
        self._stats = EngineStats()

    def run(self) -> None:
        """Start, then serve until a Shutdown message; raises EOFError when the parent has ended."""
        # Messages that arrived together with the first one are handled after it, in order.
        first, *rest = self._channel.receive(wait=True)
        message = msgspec.msgpack.decode(first, type=StartCore)
        files = ModelFiles(
            name=message.model_name, format=message.model_format, path=Path(message.model_path)
        )
        started = self._factory(message.config, files, self._send)
        # Objects made at startup stay until the end: exclude them from garbage collection.
        gc.collect()
        gc.freeze()
        self._send(started.ready)
        if self._handle(rest, started.core):
            self._serve(started.core)

    def fail(self, error: BaseException) -> None:
        """Send the parent the reason for which this process ends."""
        self._send(CoreFailed(type(error).__name__, str(error) or repr(error)))
        self._channel.flush(_FAILURE_SEND_TIMEOUT_S)

    def _serve(self, core: EngineCore) -> None:
        # All messages are handled before each step, so that it can batch all requests there are.
        # Only a core without work waits for messages. Outputs are sent while the next step is
        # computed.
        while self._handle(self._channel.receive(wait=not core.has_work), core):
            outputs = core.step(self._send_outputs)
            for loaded in core.take_loaded_adapters():
                self._send(loaded)
            if outputs is not None:
                self._stats = outputs.stats
                self._unsent.append(outputs)
            if self._rejected:
                self._unsent.append(StepOutputs(self._rejected, self._stats))
                self._rejected = []
            if not core.has_work:
                self._send_outputs()
        self._send_outputs()

    def _send_outputs(self) -> None:
        for outputs in self._unsent:
            self._send(outputs)
        self._unsent.clear()

    def _handle(self, frames: list[bytes], core: EngineCore) -> bool:
        """Handle these messages; returns False after a Shutdown."""
        for frame in frames:
            match self._decode(frame):
                case AddRequest() as message:
                    self._add(message, core)
                case AbortRequests(request_ids):
                    core.abort(request_ids)
                case AddEndTokens(token_ids):
                    core.add_end_tokens(token_ids)
                case ResetPrefixCache():
                    core.reset_prefix_cache()
                case LoadAdapter() as message:
                    self._load_adapter(message, core)
                case UnloadAdapter(adapter_id):
                    core.unload_adapter(adapter_id)
                case Shutdown():
                    return False
        return True

    def _decode(self, frame: bytes) -> ToCore | None:
        """The message; None for a request that cannot be decoded and is rejected."""
        try:
            message: ToCore = self._decoder.decode(frame)
            return message
        except Exception as error:
            request_id = _request_id_of(frame)
            if request_id is None:
                raise
            self._reject(request_id, error)
            return None

    def _add(self, message: AddRequest, core: EngineCore) -> None:
        # The front end has checked it too. An invalid request must not end the others.
        try:
            core.add(message)
        except Exception as error:
            self._reject(message.request_id, error)

    def _load_adapter(self, message: LoadAdapter, core: EngineCore) -> None:
        try:
            core.load_adapter(message)
        except AdapterError as error:
            self._send(AdapterLoaded(message.adapter_id, str(error)))

    def _reject(self, request_id: str, error: Exception) -> None:
        logger.error("Rejected request %s", request_id, exc_info=error)
        self._rejected.append(
            TokenOutput(
                request_id,
                [],
                None,
                finish_reason=FinishReason.ERROR,
                failure=RequestFailure.from_error(error),
            )
        )

    def _send(self, message: FromCore) -> None:
        self._channel.send(self._encoder.encode(message))


def main(arguments: list[str] | None = None) -> int:
    """Run the process; returns its exit code."""
    _ignore_signals()
    faulthandler.enable()
    parser = argparse.ArgumentParser(prog="headrace-core")
    parser.add_argument("--fd", type=int, required=True, help="the connected socket")
    parser.add_argument("--factory", required=True, help="module:function")
    options = parser.parse_args(arguments)
    _name_process()
    sock = socket.socket(fileno=options.fd)
    widen_buffers(sock)
    _die_with_parent(sock)
    server = CoreServer(FrameChannel(sock), _load(options.factory))
    try:
        server.run()
    except EOFError:
        return 1
    except BaseException as error:
        if not isinstance(error, HeadraceError):  # their message suffices
            traceback.print_exc()
        with suppress(EOFError):
            server.fail(error)
        return 1
    return 0


def _request_id_of(frame: bytes) -> str | None:
    """The request id, if the frame is an AddRequest, even if other fields are invalid."""
    try:
        match msgspec.msgpack.decode(frame):
            case [tag, str(request_id), *_] if tag == AddRequest.__struct_config__.tag:
                return request_id
    except msgspec.DecodeError:
        pass
    return None


def _ignore_signals() -> None:
    """Ctrl-C and an orchestrator's SIGTERM reach the whole process group. The parent drains, then
    sends Shutdown; until then this process must run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _name_process() -> None:
    with suppress(OSError):
        Path("/proc/self/comm").write_text("headrace-core")


def _die_with_parent(sock: socket.socket) -> None:
    """Exit at once when the parent's end closes, even within a long step or while loading."""
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    poll.register(sock.fileno(), 0)  # no events: the kernel always reports a hang-up

    def watch() -> None:
        poll.poll()
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _load(factory: str) -> Factory:
    module, _, name = factory.partition(":")
    loaded: Factory = getattr(importlib.import_module(module), name)
    return loaded


if __name__ == "__main__":
    sys.exit(main())
