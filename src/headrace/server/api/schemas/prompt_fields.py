"""Fields that say how the text of a prompt becomes tokens, which both endpoints share."""

from typing import Literal

from pydantic import Field

from headrace.core.errors import InvalidParameterError
from headrace.server.http.body_model import BodyModel


class PromptFields(BodyModel):
    """Special tokens and the length of the prompt."""

    add_special_tokens: bool | None = Field(
        None,
        description="Add special tokens such as BOS to the prompt (default: true for completions, "
        "false for chat, whose template adds them).",
    )
    parse_special_tokens: bool | None = Field(
        None,
        description="Encode the text of a special token, such as <|im_end|>, as that token "
        "(default: true for completions, false for what a chat's messages contain).",
    )
    truncate_prompt_tokens: int | None = Field(
        None,
        ge=-1,
        lt=2**31,
        description="Keep only this many tokens of a longer prompt; -1: as many as leave room for "
        "max_tokens in the context.",
    )
    truncation_side: Literal["left", "right"] | None = Field(
        None, description="The side on which tokens are cut (default: left)."
    )

    def check_truncation(self) -> None:
        """Raises InvalidParameterError."""
        if self.truncate_prompt_tokens == 0:
            raise InvalidParameterError("truncate_prompt_tokens", "must be -1 or at least 1, got 0")
