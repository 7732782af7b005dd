"""The engine core's own process: ``python -m headrace.engine.process.core_process --fd N``.

Joins an EngineCore to the socket of its parent; knows neither what the core computes nor who the
parent is. It lives exactly as long as the parent wants it: told to shut down it exits with 0, and
when the parent is gone it goes too, whatever it is doing.
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

from headrace.core.errors import HeadraceError
from headrace.core.outputs import FinishReason, RequestFailure
from headrace.core.stats import EngineStats
from headrace.engine.config import EngineConfig
from headrace.engine.engine_core import EngineCore
from headrace.engine.messages import (
    AbortRequests,
    AddEndTokens,
    AddRequest,
    CoreFailed,
    FromCore,
    Shutdown,
    StartCore,
    StepOutputs,
    ToCore,
    TokenOutput,
)
from headrace.engine.process.framing import FrameChannel, widen_buffers
from headrace.engine.startup import Report, StartedCore
from headrace.models.sources.files import ModelFiles

logger = logging.getLogger(__name__)

_LAST_WORDS_TIMEOUT_S = 5.0


Factory = Callable[[EngineConfig, ModelFiles, Report], StartedCore]
"""Starts the core: startup.start_core, or a fake's own."""


class CoreServer:
    """Serves one core over one channel, from its start to its end."""

    def __init__(self, channel: FrameChannel, factory: Factory) -> None:
        self._channel = channel
        self._factory = factory
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(ToCore)
        self._refused: list[TokenOutput] = []
        self._stats = EngineStats()

    def run(self) -> None:
        """Start, then serve until told to shut down; raises EOFError when the parent is gone."""
        # What came behind the first message, should anyone be so quick, is served in its order.
        first, *rest = self._channel.receive(wait=True)
        message = msgspec.msgpack.decode(first, type=StartCore)
        files = ModelFiles(
            name=message.model_name, format=message.model_format, path=Path(message.model_path)
        )
        started = self._factory(message.config, files, self._send)
        # What the start has made lives to the end; the collector need not walk it within a step.
        gc.collect()
        gc.freeze()
        self._send(started.ready)
        if self._handle(rest, started.core):
            self._serve(started.core)

    def fail(self, error: BaseException) -> None:
        """Tell the parent why this process ends."""
        self._send(CoreFailed(type(error).__name__, str(error) or repr(error)))
        self._channel.flush(_LAST_WORDS_TIMEOUT_S)

    def _serve(self, core: EngineCore) -> None:
        # All that has come is taken in before each step, so that a step has as much to batch as
        # there is; only a core without work waits, and it waits in the kernel.
        while self._handle(self._channel.receive(wait=not core.has_work), core):
            outputs = core.step()
            if outputs is not None:
                self._stats = outputs.stats
                self._send(outputs)
            if self._refused:
                self._send(StepOutputs(self._refused, self._stats))
                self._refused = []

    def _handle(self, frames: list[bytes], core: EngineCore) -> bool:
        """Take these messages in; false when one of them is the last."""
        for frame in frames:
            match self._decode(frame):
                case AddRequest() as message:
                    self._add(message, core)
                case AbortRequests(request_ids):
                    core.abort(request_ids)
                case AddEndTokens(token_ids):
                    core.add_end_tokens(token_ids)
                case Shutdown():
                    return False
        return True

    def _decode(self, frame: bytes) -> ToCore | None:
        """The message; None for a request that cannot be decoded, which is refused."""
        try:
            message: ToCore = self._decoder.decode(frame)
            return message
        except Exception as error:
            request_id = _request_id_of(frame)
            if request_id is None:
                raise
            self._refuse(request_id, error)
            return None

    def _add(self, message: AddRequest, core: EngineCore) -> None:
        # The front end checks the same; one bad request must not end the others.
        try:
            core.add(message)
        except Exception as error:
            self._refuse(message.request_id, error)

    def _refuse(self, request_id: str, error: Exception) -> None:
        logger.error("Refused request %s", request_id, exc_info=error)
        self._refused.append(
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
        if not isinstance(error, HeadraceError):  # these say all there is to say
            traceback.print_exc()
        with suppress(EOFError):
            server.fail(error)
        return 1
    return 0


def _request_id_of(frame: bytes) -> str | None:
    """Whose request this is, if it is a request, whatever is wrong with its other fields."""
    try:
        match msgspec.msgpack.decode(frame):
            case [tag, str(request_id), *_] if tag == AddRequest.__struct_config__.tag:
                return request_id
    except msgspec.DecodeError:
        pass
    return None


def _ignore_signals() -> None:
    """Ctrl-C and an orchestrator's SIGTERM reach the whole group: the parent drains, then says so
    here. SIGKILL, or the parent's end, is always there for who means it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _name_process() -> None:
    with suppress(OSError):
        Path("/proc/self/comm").write_text("headrace-core")


def _die_with_parent(sock: socket.socket) -> None:
    """Exit at once when the other end closes, even within a long step or while loading."""
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    poll.register(sock.fileno(), 0)  # no events: the kernel tells of a hang-up unasked

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
