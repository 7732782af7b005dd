"""Checks grammars in the front end, before their requests are queued."""

import asyncio
import hashlib
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor

from headrace.core.generation.grammar import Grammar
from headrace.engine.grammar.compile_thread import start_compile_thread
from headrace.engine.grammar.source import check_grammar

MAX_REMEMBERED = 1024
"""Grammars that passed; each takes about 200 bytes."""


class GrammarChecker:
    """Checks grammars one at a time, on a thread of its own, and remembers those that passed.

    Belongs to one thread.
    """

    def __init__(self) -> None:
        self._passed: OrderedDict[bytes, None] = OrderedDict()
        self._thread: ThreadPoolExecutor | None = None

    async def check(self, grammar: Grammar) -> None:
        """Raises InvalidParameterError, named by the grammar's ``param``."""
        key = _key_of(grammar)
        if not self._has_passed(key):
            await asyncio.wrap_future(self._start(grammar))
            self._remember(key)

    def check_now(self, grammar: Grammar) -> None:
        """``check`` for callers without an event loop."""
        key = _key_of(grammar)
        if not self._has_passed(key):
            self._start(grammar).result()
            self._remember(key)

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None

    def _start(self, grammar: Grammar) -> Future[None]:
        if self._thread is None:
            self._thread = start_compile_thread()
        return self._thread.submit(check_grammar, grammar)

    def _has_passed(self, key: bytes) -> bool:
        if key not in self._passed:
            return False
        self._passed.move_to_end(key)
        return True

    def _remember(self, key: bytes) -> None:
        self._passed[key] = None
        if len(self._passed) > MAX_REMEMBERED:
            self._passed.popitem(last=False)


def _key_of(grammar: Grammar) -> bytes:
    source = grammar.source.encode("utf-8", "surrogatepass")
    return hashlib.sha256(b"%b:%b" % (grammar.kind.encode(), source)).digest()
