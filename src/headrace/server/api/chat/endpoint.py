"""POST /v1/chat/completions."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.outputs import ChoiceDelta, CompletionOutput
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.api.chat.prompt import render_job
from headrace.server.api.chunks import ChunkWriter
from headrace.server.api.generation_response import (
    envelope,
    full_response,
    record_generation,
    stream_response,
)
from headrace.server.api.logprobs import chat_logprobs
from headrace.server.api.sampling import to_sampling_params
from headrace.server.api.schemas.requests import ChatCompletionRequest
from headrace.server.generation import Generation, TokenUsage
from headrace.server.http.disconnect import stop_on_disconnect
from headrace.server.http.json_body import JsonObject, json_response, read_json
from headrace.server.http.sse import EventStream
from headrace.server.served_model import ServedModel


async def chat_completions(request: Request) -> Response | EventStream:
    """The endpoint. Raises ApiError, HeadraceError or ClientGoneError."""
    served: ServedModel = request.app.state.served_model
    body = await read_json(request, ChatCompletionRequest, served.config.max_body_size)
    body.check()
    model = served.resolve(body.model)
    served.check_task("generate")
    params = _sampling_params(body, served)
    job = render_job(body)
    served.engine.check_queue(params.n)
    tokenizer = served.engine.tokenizer
    [token_ids] = await served.prompt_encoder.encode(
        [await served.renderer.render(job)],
        add_special_tokens=bool(body.add_special_tokens),  # the template adds them
    )
    served.check_accepting()
    kind = "chat.completion.chunk" if body.stream else "chat.completion"
    head = envelope("chatcmpl", kind, model)
    generation = Generation(
        served.engine,
        [token_ids],
        params,
        record=record_generation(request, head, params, [token_ids], is_stream=bool(body.stream)),
        cache_salt=body.cache_salt or "",
    )
    if body.stream:
        writer = _ChatChunkWriter(head, body, generation.usage, token_ids, tokenizer)
        return stream_response(generation, writer)
    async with stop_on_disconnect(request.receive), generation:
        outputs = await generation.outputs()
    response = full_response(
        head,
        [_choice(output, body, tokenizer) for output in outputs],
        generation.usage,
        prompt_logprobs=None,
        prompt_token_ids=token_ids if body.return_token_ids else None,
        prompt_text=None,
    )
    return json_response(response)


def _sampling_params(body: ChatCompletionRequest, served: ServedModel) -> SamplingParams:
    """Raises InvalidParameterError with the name of the field that the client sent."""
    max_tokens = body.max_completion_tokens
    try:
        return to_sampling_params(
            body,
            served.sampling_defaults,
            max_tokens=body.max_tokens if max_tokens is None else max_tokens,
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        )
    except InvalidParameterError as error:
        if error.param != "max_tokens" or max_tokens is None:
            raise
        message = str(error).removeprefix("max_tokens: ")
        raise InvalidParameterError("max_completion_tokens", message) from None


def _choice(
    output: CompletionOutput, body: ChatCompletionRequest, tokenizer: Tokenizer
) -> JsonObject:
    entries = output.logprobs
    return {
        "index": output.index,
        "message": {
            "role": "assistant",
            "content": output.text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": None,
        },
        "logprobs": None if entries is None else chat_logprobs(tokenizer, entries),
        "finish_reason": output.finish_reason,
        "stop_reason": output.stop_reason,
        "token_ids": output.token_ids if body.return_token_ids else None,
        "routed_experts": None,
    }


class _ChatChunkWriter(ChunkWriter):
    """The chunks of a chat completion. The first chunk of a choice has the role and no content."""

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

    def choice(self, delta: ChoiceDelta) -> JsonObject:
        logprobs = chat_logprobs(self._tokenizer, delta.logprobs) if delta.logprobs else None
        choice: JsonObject = {
            "index": delta.index,
            "delta": {"content": delta.text},
            "logprobs": logprobs,
            "finish_reason": delta.finish_reason,
        }
        if delta.finish_reason is not None:
            choice["stop_reason"] = delta.stop_reason
        choice["token_ids"] = delta.token_ids if self._with_token_ids else None
        return choice

    def first(self, delta: ChoiceDelta) -> bytes:
        # The role is sent with the first text, so that the time to the first chunk is the time to
        # the first token.
        role: JsonObject = {
            "index": delta.index,
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
            "token_ids": None,
        }
        first_event = self._event(
            role,
            num_unsent=len(delta.token_ids),
            prompt_token_ids=self._prompt_token_ids if self._with_token_ids else None,
        )
        return first_event + self._event(self.choice(delta))
