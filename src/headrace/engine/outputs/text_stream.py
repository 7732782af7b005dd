"""The text of one choice: detokenized, and ended at a stop string."""

from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.outputs.stop_automaton import StopAutomaton
from headrace.engine.outputs.stop_checker import StopChecker
from headrace.engine.tokenization.detokenizer import Detokenizer


class TextStream:
    """Detokenizes one choice up to a stop string, and holds back what may be part of one."""

    def __init__(
        self, detokenizer: Detokenizer, params: SamplingParams, stops: StopAutomaton | None
    ) -> None:
        self.stop: str | None = None
        """The stop string that ended the text."""
        self._detokenizer = detokenizer
        self._include_stop_str = params.include_stop_str_in_output
        self._min_tokens = params.min_tokens
        self._num_tokens = 0
        self._checker = (
            StopChecker(stops, params.include_stop_str_in_output) if stops is not None else None
        )

    def push(self, token_id: int, ends_output: bool) -> str:
        """The text that a token adds. A token that ends the output (EOS, a stop token) adds none,
        unless include_stop_str_in_output is set."""
        self._num_tokens += 1
        if ends_output and not self._include_stop_str:
            return ""
        return self._check(self._detokenizer.push(token_id))

    def finish(self) -> str:
        """The text that was held back. It may still complete a stop string."""
        text = self._check(self._detokenizer.flush())
        if self._checker is not None and self.stop is None:
            text += self._checker.flush()
        return text

    def _check(self, text: str) -> str:
        if self._checker is None or not text:
            return text
        checked = self._checker.push(text, may_stop=self._num_tokens > self._min_tokens)
        self.stop = checked.stop
        return checked.text
