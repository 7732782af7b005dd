"""The chunks of a chat completion whose output is its content."""

from headrace.core.generation.outputs import ChoiceDelta
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.api.chat.prompt import echoed_text
from headrace.server.api.chunks import ChunkWriter
from headrace.server.api.logprobs import chat_logprobs
from headrace.server.api.schemas.requests import ChatCompletionRequest
from headrace.server.generation import TokenUsage
from headrace.server.http.json_body import JsonObject


class ChatChunkWriter(ChunkWriter):
    """The first chunk of a choice has the role and no content."""

    def __init__(
        self,
        head: JsonObject,
        body: ChatCompletionRequest,
        usage: TokenUsage,
        prompt_token_ids: list[int],
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(head, body, usage)
        self._prompt_token_ids = prompt_token_ids
        self._tokenizer = tokenizer
        self._as_ids = bool(body.return_tokens_as_token_ids)
        self._echo = echoed_text(body)

    def choice(self, delta: ChoiceDelta) -> JsonObject:
        choice: JsonObject = {
            "index": delta.index,
            "delta": {"content": delta.text},
            "logprobs": self._logprobs(delta),
            "finish_reason": delta.finish_reason,
        }
        if delta.finish_reason is not None:
            choice["stop_reason"] = delta.stop_reason
        choice["token_ids"] = delta.token_ids if self._with_token_ids else None
        return choice

    def first(self, delta: ChoiceDelta) -> bytes:
        # The role is sent with the first text, so that the time to the first chunk is the time to
        # the first token.
        choice = self.choice(delta)
        choice["delta"]["content"] = self._echo + delta.text
        return self._role(delta) + self._event(choice)

    def _role(self, delta: ChoiceDelta) -> bytes:
        return self._event(
            self._change(delta.index, {"role": "assistant", "content": ""}),
            num_unsent=len(delta.token_ids),
            prompt_token_ids=self._prompt_token_ids if self._with_token_ids else None,
        )

    def _change(self, index: int, change: JsonObject) -> JsonObject:
        """The entry of a chunk's "choices" that changes the message, without tokens of its own."""
        return {
            "index": index,
            "delta": change,
            "logprobs": None,
            "finish_reason": None,
            "token_ids": None,
        }

    def _logprobs(self, delta: ChoiceDelta) -> JsonObject | None:
        if not delta.logprobs:
            return None
        return chat_logprobs(self._tokenizer, delta.logprobs, as_ids=self._as_ids)
