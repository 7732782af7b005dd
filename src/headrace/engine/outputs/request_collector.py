"""Joins the deltas of one request into its whole output."""

from headrace.core.generation.outputs import (
    ChoiceDelta,
    CompletionOutput,
    RequestOutput,
    TokenLogprobs,
)


class RequestCollector:
    """One request's output so far."""

    def __init__(
        self,
        request_id: str,
        prompt: str | None,
        prompt_token_ids: list[int],
        num_choices: int = 1,
        *,
        with_prompt_logprobs: bool = False,
    ) -> None:
        self.output = RequestOutput(
            request_id=request_id,
            prompt=prompt,
            prompt_token_ids=prompt_token_ids,
            outputs=[CompletionOutput(index) for index in range(num_choices)],
            prompt_logprobs=[None] if with_prompt_logprobs else None,
        )

    def add_prompt_logprobs(self, choice: int, entries: list[TokenLogprobs]) -> None:
        """The next ones of the prompt; all choices have the same."""
        if choice == 0 and self.output.prompt_logprobs is not None:
            self.output.prompt_logprobs.extend(entries)

    def add(self, delta: ChoiceDelta) -> None:
        choice = self.output.outputs[delta.index]
        choice.text += delta.text
        choice.token_ids.extend(delta.token_ids)
        if delta.logprobs is not None:
            if choice.logprobs is None:
                choice.logprobs = []
            choice.logprobs.extend(delta.logprobs)
        choice.finish_reason = delta.finish_reason
        choice.stop_reason = delta.stop_reason
        choice.failure = delta.failure
        self.output.num_cached_tokens = max(self.output.num_cached_tokens, delta.num_cached_tokens)
