"""Schemas of requests for vectors: embeddings, pooling, classification, scores and reranking.

They have the names of OpenAI's, vLLM's, Jina's and Cohere's APIs. Null means the default.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from headrace.core.errors import InvalidParameterError
from headrace.engine.tokenization.input_encoder import Side, Truncation
from headrace.server.api.schemas.field_types import CacheSalt, Int32, TokenIds
from headrace.server.api.schemas.unsupported_fields import PartialBodyModel, RefusedField
from headrace.server.http.body_model import BodyModel

MAX_INPUTS = 2048
"""The same limit as OpenAI's."""
_PROMPT_NAME = "use prompt_name"

Texts = Annotated[list[str], Field(max_length=MAX_INPUTS)]

REFUSED_IN_POOLING: Mapping[str, RefusedField] = {
    field.name: field
    for field in (
        # vLLM
        RefusedField("messages", (), "send the text in input"),
        RefusedField("chat_template", ("",)),
        RefusedField("chat_template_kwargs", ({},)),
        RefusedField("add_generation_prompt", (False,)),
        RefusedField("continue_final_message", (False,)),
        RefusedField("mm_processor_kwargs", ({},)),
        RefusedField("media_io_kwargs", ({},)),
        RefusedField("embed_dtype", ("float32",), "vectors are float32"),
        RefusedField("endianness", ("native", "little"), "vectors are little-endian"),
        RefusedField("normalize", (), "use use_activation"),
        RefusedField("softmax", (), "use use_activation"),
        RefusedField("activation", (), "use use_activation"),
        RefusedField("instruction", ("",), _PROMPT_NAME),
        RefusedField("task", (), "the server's option --task sets it"),
        # Jina, Cohere
        RefusedField("input_type", (), _PROMPT_NAME),
        RefusedField("embedding_type", ("float",), "use encoding_format"),
        RefusedField("embedding_types", (["float"],), "use encoding_format"),
        RefusedField("late_chunking", (False,)),
        RefusedField("truncate", ("NONE", False), "use truncate_prompt_tokens"),
        RefusedField("max_tokens_per_doc", (), "use truncate_prompt_tokens"),
        RefusedField("max_chunks_per_doc"),
        RefusedField("rank_fields", ([],)),
        RefusedField("images", ([],)),
    )
}

IGNORED_IN_POOLING = frozenset(
    {"metadata", "priority", "request_id", "safety_identifier", "service_tier", "user"}
)


class PoolingBody(PartialBodyModel):
    """The fields that all endpoints share."""

    refused: ClassVar[Mapping[str, RefusedField]] = REFUSED_IN_POOLING
    ignored: ClassVar[frozenset[str]] = IGNORED_IN_POOLING
    prompt_field: ClassVar[str] = "input"
    """The field that an error about a prompt names."""

    model: str | None = Field(
        None, max_length=1024, description="A model id from /v1/models (default: the first)."
    )
    truncate_prompt_tokens: Int32 | None = Field(
        None,
        description="Keep at most this many tokens of each input, special tokens included; -1: as "
        "many as fit. By default an input that does not fit gets 400.",
    )
    truncation_side: Side | None = Field(None, description="Where tokens are removed (right).")
    add_special_tokens: bool | None = Field(
        None, description="Add special tokens such as [CLS] to texts (true)."
    )
    use_activation: bool | None = Field(
        None,
        description="Normalize embeddings, or turn logits into probabilities; by default as the "
        "model's files say.",
    )
    cache_salt: CacheSalt = None

    def check(self) -> None:
        """Raises InvalidParameterError for unsupported fields, ApiError for unknown ones."""
        self.check_unsupported()

    def truncation(self, max_model_len: int) -> Truncation | None:
        """Raises InvalidParameterError for a number of tokens that is out of range."""
        wanted = self.truncate_prompt_tokens
        if wanted is None:
            return None
        if not (wanted == -1 or 1 <= wanted <= max_model_len):
            raise InvalidParameterError(
                "truncate_prompt_tokens",
                f"must be -1 or between 1 and {max_model_len}, the context length, got {wanted}",
            )
        return Truncation(
            max_model_len if wanted == -1 else wanted, self.truncation_side or "right"
        )


class InputBody(PoolingBody):
    """A request with inputs that are independent of each other."""

    input: str | TokenIds | Texts | Annotated[list[TokenIds], Field(max_length=MAX_INPUTS)] = Field(
        description="A string, a list of strings, token ids, or a list of token id lists."
    )

    def inputs(self) -> list[str] | list[list[int]]:
        """Raises InvalidParameterError for an empty list."""
        given = self.input
        if isinstance(given, str):
            return [given]
        if not given:
            raise InvalidParameterError("input", "must not be an empty list")
        if isinstance(given[0], int):
            return [given]
        return given


class EmbeddingRequest(InputBody):
    """POST /v1/embeddings and /pooling."""

    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="base64: the bytes of float32 numbers, little-endian (float)."
    )
    dimensions: Int32 | None = Field(
        None, description="Keep this many leading numbers, normalized again."
    )
    prompt_name: str | None = Field(
        None,
        max_length=256,
        description="A prompt of config_sentence_transformers.json, put before each text (the "
        "file's default_prompt_name).",
    )


class ClassificationRequest(InputBody):
    """POST /classify."""


class ScoreRequest(PoolingBody):
    """POST /v1/score."""

    prompt_field = "text_2"

    text_1: str | Texts = Field(description="One text for all of text_2, or as many.")
    text_2: str | Texts


class RerankDocument(BodyModel):
    """A document as an object."""

    model_config = ConfigDict(extra="forbid")

    text: str


class RerankRequest(PoolingBody):
    """POST /v1/rerank."""

    prompt_field = "documents"

    query: str
    documents: Annotated[list[str | RerankDocument], Field(max_length=MAX_INPUTS)]
    top_n: Int32 | None = Field(None, description="Return the best results only; 0: all.")
    return_documents: bool | None = Field(None, description="Repeat the documents (true).")
