"""Fields of vLLM's sampling parameters beyond OpenAI's, which both endpoints share."""

from typing import Annotated

from pydantic import Field

from headrace.core.generation.sampling_params import (
    MAX_ALLOWED_TOKEN_IDS,
    MAX_BAD_WORD_LENGTH,
    MAX_BAD_WORDS,
    MAX_LOGPROB_TOKEN_IDS,
)
from headrace.server.api.schemas.field_types import TokenId
from headrace.server.http.body_model import BodyModel

BadWord = Annotated[str, Field(min_length=1, max_length=MAX_BAD_WORD_LENGTH)]


class SamplingFields(BodyModel):
    """Log-probabilities of the prompt, and limits of the vocabulary."""

    prompt_logprobs: int | None = Field(
        None,
        ge=-1,
        lt=2**31,
        description="Log-probabilities of the prompt's tokens and of this many most likely ones "
        "(-1: all), up to --max-logprobs. Not with stream.",
    )
    logprob_token_ids: Annotated[list[TokenId], Field(max_length=MAX_LOGPROB_TOKEN_IDS)] | None = (
        Field(None, description="Tokens to report in place of the most likely ones.")
    )
    allowed_token_ids: Annotated[list[TokenId], Field(max_length=MAX_ALLOWED_TOKEN_IDS)] | None = (
        Field(None, description="Sample only these tokens.")
    )
    bad_words: Annotated[list[BadWord], Field(max_length=MAX_BAD_WORDS)] | None = Field(
        None, description="Texts that are not sampled."
    )
    return_tokens_as_token_ids: bool | None = Field(
        None, description='In log-probabilities, write tokens as "token_id:N".'
    )
