"""The schema of /v1/chat/completions/batch, compatible with vLLM's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import Field

from headrace.core.errors import InvalidParameterError
from headrace.server.api.schemas.requests import (
    MAX_MESSAGES,
    MAX_PROMPTS,
    ChatCompletionRequest,
    GenerationRequest,
    Message,
)

Conversation = Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
Conversations = Annotated[list[Conversation], Field(min_length=1, max_length=MAX_PROMPTS)]


@contextmanager
def at_conversation(index: int) -> Iterator[None]:
    """Errors about ``messages`` get the conversation's index: ``messages[index][0].content``."""
    try:
        yield
    except InvalidParameterError as error:
        if not error.param.startswith("messages"):
            raise
        rule = str(error).removeprefix(f"{error.param}: ")
        rest = error.param.removeprefix("messages")
        raise InvalidParameterError(f"messages[{index}]{rest}", rule) from None


class BatchChatCompletionRequest(ChatCompletionRequest):
    """POST /v1/chat/completions/batch: a chat completion of each conversation."""

    messages: Conversations = Field(  # type: ignore[assignment]
        description="Conversations, each with one or more messages."
    )

    def conversations(self) -> list[ChatCompletionRequest]:
        """A chat completion request for each conversation."""
        declared = self.model_fields_set & ChatCompletionRequest.model_fields.keys()
        shared = {name: getattr(self, name) for name in declared}
        return [
            ChatCompletionRequest.model_construct(**{**shared, "messages": messages})
            for messages in self.messages
        ]

    def check(self) -> None:
        """Raises InvalidParameterError; ``param`` has the conversation's index."""
        GenerationRequest.check(self)  # the fields that all conversations share
        if self.stream:
            raise InvalidParameterError("stream", "must be false: a batch is not streamed")
        if self.n not in (None, 1):
            raise InvalidParameterError("n", f"must be 1 for a batch, got {self.n}")
        if self.tools:
            raise InvalidParameterError(
                "tools", "are not supported in a batch; send each conversation by itself"
            )
        for index, conversation in enumerate(self.conversations()):
            with at_conversation(index):
                conversation.check()
