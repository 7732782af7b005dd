"""POST /v1/chat/completions."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from headrace.core.generation.outputs import CompletionOutput
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.api.chat.answers import AnswerChunkWriter, AnswerCollector
from headrace.server.api.chat.chat_chunks import ChatChunkWriter
from headrace.server.api.chat.prepared_chat import PreparedChat, prepare_chat
from headrace.server.api.chat.prompt import echoed_text
from headrace.server.api.chunks import ChunkWriter
from headrace.server.api.generation_response import (
    envelope,
    full_response,
    stream_response,
)
from headrace.server.api.logprobs import chat_logprobs, prompt_logprobs
from headrace.server.api.schemas.requests import ChatCompletionRequest
from headrace.server.generation import Generation, TokenUsage
from headrace.server.http.disconnect import stop_on_disconnect
from headrace.server.http.json_body import JsonObject, json_response, read_json
from headrace.server.http.sse import EventStream
from headrace.server.model_pool.request_model import config_of, serve_model


async def chat_completions(request: Request) -> Response | EventStream:
    """The endpoint. Raises ApiError, HeadraceError or ClientGoneError."""
    body = await read_json(request, ChatCompletionRequest, config_of(request).max_body_size)
    body.check()
    served = await serve_model(request, body.model)
    model = served.resolve(body.model)
    served.check_task("generate")
    chat = await prepare_chat(body, served)
    token_ids = chat.prompt.token_ids
    kind = "chat.completion.chunk" if body.stream else "chat.completion"
    head = envelope("chatcmpl", kind, model, body.request_id)
    generation = chat.generation(request, head, is_stream=bool(body.stream))
    tokenizer = served.engine.tokenizer
    if body.stream:
        writer = _writer(head, chat, generation.usage)
        return stream_response(generation, writer, body.stream_interval)
    response = full_response(
        head,
        await whole_choices(request, chat, generation, [body]),
        generation.usage,
        prompt_logprobs=None
        if body.prompt_logprobs is None
        else prompt_logprobs(tokenizer, generation.prompt_logprobs(0)),
        prompt_token_ids=token_ids if body.return_token_ids else None,
        prompt_text=chat.prompt.text if body.return_prompt_text else None,
    )
    return json_response(response)


async def whole_choices(
    request: Request,
    chat: PreparedChat,
    generation: Generation,
    bodies: Sequence[ChatCompletionRequest],
) -> list[JsonObject]:
    """Generate the choices of a response that is not streamed. bodies: of each conversation."""
    tokenizer = chat.served.engine.tokenizer
    stream = chat.answers.stream(tokenizer)
    collector = (
        None
        if stream is None
        else AnswerCollector(stream, with_reasoning=chat.body.wants_reasoning)
    )
    async with stop_on_disconnect(request.receive), generation:
        outputs = await generation.outputs(None if collector is None else collector.add)
    return [
        _choice(output, bodies[output.index // chat.params.n], tokenizer, collector)
        for output in outputs
    ]


def _choice(
    output: CompletionOutput,
    body: ChatCompletionRequest,
    tokenizer: Tokenizer,
    collector: AnswerCollector | None,
) -> JsonObject:
    entries = output.logprobs
    answer = {"content": output.text} if collector is None else collector.message(output.index)
    if echo := echoed_text(body):
        answer["content"] = echo + (answer["content"] or "")
    return {
        "index": output.index,
        "message": {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": None,
            **answer,
        },
        "logprobs": None
        if entries is None
        else chat_logprobs(tokenizer, entries, as_ids=bool(body.return_tokens_as_token_ids)),
        "finish_reason": (
            output.finish_reason if collector is None else collector.finish_reason(output)
        ),
        "stop_reason": output.stop_reason,
        "token_ids": output.token_ids if body.return_token_ids else None,
        "routed_experts": None,
    }


def _writer(head: JsonObject, chat: PreparedChat, usage: TokenUsage) -> ChunkWriter:
    tokenizer = chat.served.engine.tokenizer
    token_ids = chat.prompt.token_ids
    answers = chat.answers.stream(tokenizer)
    if answers is None:
        return ChatChunkWriter(head, chat.body, usage, token_ids, tokenizer)
    return AnswerChunkWriter(head, chat.body, usage, token_ids, tokenizer, answers)
