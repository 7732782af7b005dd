"""The table of all endpoints: a new endpoint is a row here.

Routes (app.py), access control, /openapi.json, /docs and docs/api.md are made from it.
"""

from collections.abc import Sequence
from itertools import chain

from headrace.server.api.adapters.endpoints import load_lora_adapter, unload_lora_adapter
from headrace.server.api.adapters.schemas import (
    LoadLoraAdapterRequest,
    UnloadLoraAdapterRequest,
)
from headrace.server.api.chat.batch import chat_completions_batch
from headrace.server.api.chat.endpoint import chat_completions
from headrace.server.api.completions import completions
from headrace.server.api.messages import message_schemas
from headrace.server.api.messages.endpoint import count_tokens, create_message
from headrace.server.api.messages.request import CountTokensRequest, MessagesRequest
from headrace.server.api.models import get_model, list_models
from headrace.server.api.operations.health import health, root, version
from headrace.server.api.operations.invocations import invocations
from headrace.server.api.operations.load import load, metrics
from headrace.server.api.operations.prefix_cache import reset_prefix_cache
from headrace.server.api.operations.server_info import server_info
from headrace.server.api.pooling.embeddings import classify, embeddings, pooling
from headrace.server.api.pooling.scoring import rerank, score
from headrace.server.api.responses import response_schemas
from headrace.server.api.responses.endpoint import create_response
from headrace.server.api.responses.request import ResponsesRequest
from headrace.server.api.responses.stored import delete_response, get_response, list_input_items
from headrace.server.api.schemas import operations, responses, tokenization
from headrace.server.api.schemas.batch import BatchChatCompletionRequest
from headrace.server.api.schemas.pooling import responses as pooled
from headrace.server.api.schemas.pooling.requests import (
    ClassificationRequest,
    EmbeddingRequest,
    RerankRequest,
    ScoreRequest,
)
from headrace.server.api.schemas.requests import ChatCompletionRequest, CompletionRequest
from headrace.server.api.tokenization import detokenize, tokenize, tokenizer_info
from headrace.server.documentation.api_page import docs_page, openapi_document
from headrace.server.endpoint import HTML, TEXT, Endpoint

_BODY = (400, 404, 413, 415)
"""Errors of endpoints with a JSON body that names a model."""
_GENERATION = (*_BODY, 429, 503)

_POOLING = (
    Endpoint(
        path="/v1/embeddings",
        methods=("POST",),
        handler=embeddings,
        summary="Create embeddings",
        requests=(EmbeddingRequest,),
        responses=(pooled.EmbeddingList,),
        errors=_GENERATION,
        invocation_field="input",
        prompt_field="input",
    ),
    Endpoint(
        path="/pooling",
        methods=("POST",),
        handler=pooling,
        summary="The same vectors, and those of classifiers, under another key",
        requests=(EmbeddingRequest,),
        responses=(pooled.PoolingList,),
        errors=_GENERATION,
        prompt_field="input",
    ),
    Endpoint(
        path="/classify",
        methods=("POST",),
        handler=classify,
        summary="Classify texts: the probability of each label",
        requests=(ClassificationRequest,),
        responses=(pooled.ClassificationList,),
        errors=_GENERATION,
        prompt_field="input",
    ),
    *(
        Endpoint(
            path=path,
            methods=("POST",),
            handler=score,
            summary="Score pairs of texts",
            requests=(ScoreRequest,),
            responses=(pooled.ScoreList,),
            errors=_GENERATION,
            invocation_field="text_1" if path == "/v1/score" else None,
            prompt_field="text_2",
        )
        for path in ("/v1/score", "/score")
    ),
    *(
        Endpoint(
            path=path,
            methods=("POST",),
            handler=rerank,
            summary="Sort documents by their relevance to a query",
            requests=(RerankRequest,),
            responses=(pooled.Reranking,),
            errors=_GENERATION,
            invocation_field="query" if path == "/v1/rerank" else None,
            prompt_field="documents",
        )
        for path in ("/v1/rerank", "/v2/rerank", "/rerank")
    ),
)

_MODEL = (
    Endpoint(
        path="/v1/models",
        handler=list_models,
        summary="List models",
        responses=(responses.ModelList,),
    ),
    Endpoint(
        path="/v1/models/{model_id:path}",
        handler=get_model,
        summary="Get a model; its id may have slashes",
        responses=(responses.ModelCard,),
        errors=(404,),
    ),
    Endpoint(
        path="/v1/completions",
        methods=("POST",),
        handler=completions,
        summary="Create a completion",
        requests=(CompletionRequest,),
        responses=(responses.Completion,),
        chunks=(responses.CompletionChunk,),
        errors=_GENERATION,
        invocation_field="prompt",
    ),
    Endpoint(
        path="/v1/chat/completions",
        methods=("POST",),
        handler=chat_completions,
        summary="Create a chat completion",
        requests=(ChatCompletionRequest,),
        responses=(responses.ChatCompletion,),
        chunks=(responses.ChatCompletionChunk,),
        errors=_GENERATION,
        invocation_field="messages",
        prompt_field="messages",
    ),
    Endpoint(
        path="/v1/chat/completions/batch",
        methods=("POST",),
        handler=chat_completions_batch,
        summary="Create chat completions for several conversations, one choice each",
        requests=(BatchChatCompletionRequest,),
        responses=(responses.ChatCompletion,),
        errors=_GENERATION,
        prompt_field="messages",
        difference="As vLLM's: `stream` must be false and `n` 1. The conversations are admitted "
        "together or not at all.",
    ),
    *_POOLING,
    Endpoint(
        path="/v1/responses",
        methods=("POST",),
        handler=create_response,
        summary="Create a response",
        requests=(ResponsesRequest,),
        responses=(response_schemas.ResponseBody,),
        chunks=(response_schemas.ResponseEvent,),
        errors=_GENERATION,
        prompt_field="input",
        difference="Events are sent from the first token on. See "
        "[responses-and-messages.md](responses-and-messages.md).",
    ),
    Endpoint(
        path="/v1/responses/{response_id}",
        handler=get_response,
        summary="Get a stored response",
        responses=(response_schemas.ResponseBody,),
        errors=(400, 404),
        difference="`stream` is not supported.",
    ),
    Endpoint(
        path="/v1/responses/{response_id}",
        methods=("DELETE",),
        handler=delete_response,
        summary="Delete a stored response",
        responses=(response_schemas.DeletedResponse,),
        errors=(404,),
    ),
    Endpoint(
        path="/v1/responses/{response_id}/input_items",
        handler=list_input_items,
        summary="List the items that a stored response continued, in pages (limit, order, after)",
        responses=(response_schemas.InputItemList,),
        errors=(400, 404),
    ),
    Endpoint(
        path="/v1/messages",
        methods=("POST",),
        handler=create_message,
        summary="Create a message (Anthropic's API)",
        requests=(MessagesRequest,),
        responses=(message_schemas.MessageBody,),
        chunks=(message_schemas.MessageEvent,),
        errors=_GENERATION,
        prompt_field="messages",
        error_body=message_schemas.MessageError,
        difference="Events are sent from the first token on. See "
        "[responses-and-messages.md](responses-and-messages.md).",
    ),
    Endpoint(
        path="/v1/messages/count_tokens",
        methods=("POST",),
        handler=count_tokens,
        summary="The number of tokens of a prompt (Anthropic's API)",
        requests=(CountTokensRequest,),
        responses=(message_schemas.TokenCount,),
        errors=_BODY,
        error_body=message_schemas.MessageError,
    ),
    Endpoint(
        path="/v1/load_lora_adapter",
        methods=("POST",),
        handler=load_lora_adapter,
        summary="Load a LoRA adapter from a directory of the server",
        requests=(LoadLoraAdapterRequest,),
        media_type=TEXT,
        errors=(*_BODY, 503),
        enabled_by="allow_runtime_lora_updating",
        difference="`lora_path` is a directory: nothing is downloaded.",
    ),
    Endpoint(
        path="/v1/unload_lora_adapter",
        methods=("POST",),
        handler=unload_lora_adapter,
        summary="Unload a LoRA adapter; its unfinished requests go on",
        requests=(UnloadLoraAdapterRequest,),
        media_type=TEXT,
        errors=(*_BODY, 503),
        enabled_by="allow_runtime_lora_updating",
    ),
    Endpoint(
        path="/tokenize",
        methods=("POST",),
        handler=tokenize,
        summary="Tokenize a prompt, or messages as the chat template renders them",
        requests=(tokenization.TokenizeRequest,),
        responses=(tokenization.Tokenization,),
        errors=_GENERATION,
    ),
    Endpoint(
        path="/detokenize",
        methods=("POST",),
        handler=detokenize,
        summary="The text of token ids, special tokens included",
        requests=(tokenization.DetokenizeRequest,),
        responses=(tokenization.Detokenization,),
        errors=_GENERATION,
    ),
    Endpoint(
        path="/tokenizer_info",
        handler=tokenizer_info,
        summary="The tokenizer's special tokens and the chat template",
        responses=(tokenization.TokenizerInfo,),
        errors=(404, 429, 503),
        enabled_by="enable_tokenizer_info_endpoint",
        difference="vLLM sends all of `tokenizer_config.json`. Of several models, `?model=` names "
        "one.",
    ),
)

_OPERATIONS = (
    Endpoint(
        path="/health",
        handler=health,
        summary="Health check: 200 if requests are accepted, else 503",
        responses=(operations.Status,),
        errors=(503,),
        is_open=True,
    ),
    Endpoint(
        path="/ping",
        methods=("GET", "POST"),
        handler=health,
        summary="Health check of SageMaker; as /health",
        responses=(operations.Status,),
        errors=(503,),
        is_open=True,
    ),
    Endpoint(
        path="/load",
        handler=load,
        summary="Requests in progress and use of the KV cache",
        responses=(operations.Load,),
        is_open=True,
        difference="`server_load` counts prompts in progress, and needs no "
        "`--enable-server-load-tracking`; the other keys are Headrace's.",
    ),
    Endpoint(
        path="/version",
        handler=version,
        summary="Version of Headrace",
        responses=(operations.Version,),
        is_open=True,
    ),
    Endpoint(
        path="/metrics",
        handler=metrics,
        summary="Prometheus metrics",
        media_type=TEXT,
        is_open=True,
    ),
    Endpoint(
        path="/server_info",
        handler=server_info,
        summary="Configuration in use, without secrets",
        responses=(operations.ServerInfo,),
        errors=(404,),
        difference="In every mode, and always as JSON with Headrace's keys. Of several models, "
        "`?model=` names one.",
    ),
    Endpoint(
        path="/reset_prefix_cache",
        methods=("POST",),
        handler=reset_prefix_cache,
        summary="Empty the prefix caches of loaded models; requests in progress continue",
        responses=(operations.Status,),
        errors=(400, 503),
        difference="In every mode. It succeeds while requests run: they keep their blocks, and "
        "what they compute later is not cached. `reset_running_requests` and `reset_external` get "
        "400.",
    ),
)

_DESCRIPTION = (
    Endpoint(path="/", handler=root, summary="Links to the others", is_open=True, in_openapi=False),
    Endpoint(
        path="/openapi.json",
        handler=openapi_document,
        summary="This API in OpenAPI 3.1",
        is_open=True,
        enabled_by="enable_docs",
        in_openapi=False,
    ),
    Endpoint(
        path="/docs",
        handler=docs_page,
        summary="This API as a page, without scripts and without requests to other hosts",
        media_type=HTML,
        is_open=True,
        enabled_by="enable_docs",
        in_openapi=False,
    ),
    Endpoint(
        path="/redoc",
        handler=docs_page,
        summary="The same page",
        media_type=HTML,
        is_open=True,
        enabled_by="enable_docs",
        in_openapi=False,
    ),
)


def _invocations(endpoints: Sequence[Endpoint]) -> Endpoint:
    """The endpoint that takes the bodies of all of these that have an invocation_field."""
    targets = [each for each in endpoints if each.invocation_field is not None]
    return Endpoint(
        path="/invocations",
        methods=("POST",),
        handler=invocations,
        summary="SageMaker's endpoint: the endpoint above that the body's fields are of",
        requests=tuple(chain.from_iterable(each.requests for each in targets)),
        responses=tuple(chain.from_iterable(each.responses for each in targets)),
        chunks=tuple(chain.from_iterable(each.chunks for each in targets)),
        errors=tuple(sorted({status for each in targets for status in each.errors})),
    )


ENDPOINTS: tuple[Endpoint, ...] = (*_MODEL, _invocations(_MODEL), *_OPERATIONS, *_DESCRIPTION)
