"""Compiles grammars for one vocabulary, and keeps the compiled ones."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from llguidance import LLMatcher, LLTokenizer

from headrace.core.generation.grammar import Grammar, GrammarKind
from headrace.engine.grammar.compile_thread import start_compile_thread
from headrace.engine.grammar.limits import parser_limits
from headrace.engine.grammar.source import refusal, to_llguidance
from headrace.engine.grammar.vocabulary import build_vocabulary
from headrace.engine.tokenization.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

MAX_CACHED = 64
"""Compiled grammars. One takes from a few kilobytes to about 10 MB, for a hostile one."""
MAX_CACHED_BYTES = 4 * 1024 * 1024
"""Of the cached grammars' texts."""


@dataclass(frozen=True, slots=True)
class CompiledGrammar:
    """A grammar at its beginning. Copies share what they learn of it, and are cheap."""

    start: LLMatcher
    end_token_ids: frozenset[int]
    """The tokens that a mask allows where the grammar may end."""
    mask_words: int
    """32-bit words of a mask."""


_Key = tuple[GrammarKind, str]


class GrammarCompiler:
    """Compiles on a thread of its own. The first grammar also loads the vocabulary there."""

    def __init__(self, load_tokenizer: Callable[[], Tokenizer], vocab_size: int) -> None:
        """load_tokenizer: called once, on the compile thread."""
        self._load_tokenizer = load_tokenizer
        self._vocab_size = vocab_size
        self._vocabulary: LLTokenizer | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._urgent_thread: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._cache: OrderedDict[_Key, CompiledGrammar] = OrderedDict()
        self._num_cached_bytes = 0

    @property
    def num_cached(self) -> int:
        return len(self._cache)

    @property
    def num_cached_bytes(self) -> int:
        return self._num_cached_bytes

    def cached(self, grammar: Grammar) -> CompiledGrammar | None:
        """The compiled grammar, if it is in the cache."""
        key = _key_of(grammar)
        with self._lock:
            found = self._cache.get(key)
            if found is not None:
                self._cache.move_to_end(key)
            return found

    def compile(self, grammar: Grammar, end_token_ids: frozenset[int]) -> Future[CompiledGrammar]:
        """Compile on the compile thread. Fails with InvalidParameterError for an invalid grammar.

        end_token_ids: the model's; those of the first call stay.
        """
        if self._thread is None:
            self._thread = start_compile_thread()
        return self._thread.submit(self._compile, grammar, end_token_ids)

    def forget(self, grammar: Grammar, worn: CompiledGrammar) -> None:
        """Remove this compiled form, if it is in the cache."""
        key = _key_of(grammar)
        with self._lock:
            if self._cache.get(key) is worn:
                self._drop(key)

    def replace(self, grammar: Grammar, worn: CompiledGrammar) -> CompiledGrammar:
        """The compiled grammar in place of one that has reached a limit, which its copies share:
        that of the cache, or compiled now, once for all requests that ask.

        Waits for its own thread only, not for the grammars that ``compile`` has queued.
        """
        self.forget(grammar, worn)
        if self._urgent_thread is None:
            self._urgent_thread = start_compile_thread()
        return self._urgent_thread.submit(self._compile, grammar, worn.end_token_ids).result()

    def _compile(self, grammar: Grammar, end_token_ids: frozenset[int]) -> CompiledGrammar:
        found = self.cached(grammar)
        if found is not None:
            return found
        text = to_llguidance(grammar)
        if self._vocabulary is None:
            self._vocabulary = build_vocabulary(
                self._load_tokenizer(), self._vocab_size, end_token_ids
            )
        start = LLMatcher(self._vocabulary, text, log_level=0, limits=parser_limits())
        if not start.is_error():
            start.deep_copy().compute_bitmask()  # the first mask takes longest: not in a step
        if start.is_error() or (start.is_stopped() and not start.is_accepting()):
            raise refusal(grammar, start.get_error() or "matches no text")
        vocabulary = self._vocabulary
        compiled = CompiledGrammar(
            start, frozenset(vocabulary.eos_tokens), (vocabulary.vocab_size + 31) // 32
        )
        self._keep(grammar, compiled)
        return compiled

    def _keep(self, grammar: Grammar, compiled: CompiledGrammar) -> None:
        key = _key_of(grammar)
        with self._lock:
            self._drop(key)
            self._cache[key] = compiled
            self._num_cached_bytes += _num_bytes(key)
            while len(self._cache) > MAX_CACHED or self._num_cached_bytes > MAX_CACHED_BYTES:
                self._drop(next(iter(self._cache)))

    def _drop(self, key: _Key) -> None:
        if self._cache.pop(key, None) is not None:
            self._num_cached_bytes -= _num_bytes(key)


def _key_of(grammar: Grammar) -> _Key:
    return grammar.kind, grammar.source


def _num_bytes(key: _Key) -> int:
    return len(key[1])
