"""Follows the output of one request through its grammar."""

from collections.abc import Iterable, Sequence

import numpy as np
from llguidance import LLMatcher

from headrace.core.generation.request import Request
from headrace.engine.grammar.compiler import CompiledGrammar
from headrace.engine.grammar.token_masks import Words
from headrace.engine.grammar.token_sequence import SequenceFinder


class RequestMatcher:
    """The state of one request in its grammar.

    Where the grammar may end, the mask allows the request's end tokens, and its stop tokens. Where
    it must end, ``advance`` says so. With ``ignore_eos`` an end token is allowed only if nothing
    else is. Before ``after_token_ids`` everything is allowed but an end.
    """

    def __init__(self, request: Request, compiled: CompiledGrammar) -> None:
        params = request.params
        assert params.grammar is not None
        self.grammar = params.grammar
        self.compiled = compiled
        self.num_moves = 0
        """Times that ``move_to`` was called."""
        self.matcher: LLMatcher = compiled.start.deep_copy()
        self._consumed: list[int] = []
        """The tokens that the matcher has taken."""
        self._ends = request.eos_token_ids | compiled.end_token_ids
        self._stops = frozenset(params.stop_token_ids)
        self._ignores_eos = params.ignore_eos
        self.mask_words = compiled.mask_words
        num_bits = compiled.mask_words * 32
        more = self._stops - compiled.end_token_ids
        if not self._ignores_eos:
            more |= request.eos_token_ids - compiled.end_token_ids
        self._end_bits = _Bits(self._ends, num_bits)
        self._more_bits = _Bits(more, num_bits)
        self._known_end = min(compiled.end_token_ids)
        self._edits_masks = self._ignores_eos or bool(more)
        self._before = SequenceFinder(self.grammar.after_token_ids)

    @property
    def is_active(self) -> bool:
        """Whether the grammar has begun."""
        return self._before.is_found

    @property
    def is_broken(self) -> bool:
        """Whether the grammar reached a limit, or the output does not match it."""
        return self.matcher.is_error()

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow."""
        return self._before.is_found and self.matcher.is_stopped() and not self.is_broken

    def advance(self, token_ids: Sequence[int]) -> bool:
        """Take output tokens; returns whether the output is complete, so that nothing may follow.

        After a token that does not match, ``is_broken``.
        """
        for token_id in token_ids:
            if not self._before.is_found:
                self._before.push(token_id)
            elif token_id in self._ends:
                return True
            elif token_id not in self._stops:
                self._consumed.append(token_id)
                if not self.matcher.consume_token(token_id):
                    return False
        return self.is_complete

    def move_to(self, compiled: CompiledGrammar) -> None:
        """Take the same tokens in another compiled form of the grammar."""
        self.compiled = compiled
        self.num_moves += 1
        self.matcher = compiled.start.deep_copy()
        for token_id in self._consumed:
            if not self.matcher.consume_token(token_id):
                return

    def edit(self, mask: Words) -> None:
        """Correct the end tokens of the mask [W] that llguidance computed. Before the grammar has
        begun, write the whole mask."""
        if not self._before.is_found:
            mask.fill(-1)
            if not self._ignores_eos:
                self._end_bits.clear(mask)
        elif self._edits_masks:
            self._edit_ends(mask)

    def _edit_ends(self, mask: Words) -> None:
        may_end = (int(mask[self._known_end // 32]) >> (self._known_end % 32)) & 1
        if not may_end:
            return
        if self._ignores_eos:
            self._end_bits.clear(mask)
            if not mask.any():
                self._end_bits.set(mask)
        self._more_bits.set(mask)


class _Bits:
    """Places in a mask."""

    def __init__(self, token_ids: Iterable[int], num_bits: int) -> None:
        words = np.zeros(num_bits // 32, dtype=np.uint32)
        for token_id in token_ids:
            if token_id < num_bits:
                words[token_id // 32] |= np.uint32(1 << (token_id % 32))
        self._places = np.flatnonzero(words)
        self._values = words[self._places].view(np.int32)

    def set(self, mask: Words) -> None:
        mask[self._places] |= self._values

    def clear(self, mask: Words) -> None:
        mask[self._places] &= ~self._values
