"""POST /v1/chat/completions."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.grammar import Grammar
from headrace.core.generation.outputs import ChoiceDelta, CompletionOutput
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.api.chat.answer_plan import plan_answers
from headrace.server.api.chat.answers import AnswerChunkWriter, AnswerCollector
from headrace.server.api.chat.prompt import echoed_text, encode_prompt, render_job
from headrace.server.api.chat.tools import plan_tools
from headrace.server.api.chunks import ChunkWriter
from headrace.server.api.generation_response import (
    envelope,
    full_response,
    record_generation,
    stream_response,
)
from headrace.server.api.logprobs import chat_logprobs, prompt_logprobs
from headrace.server.api.sampling import check_engine_options, to_sampling_params
from headrace.server.api.schemas.requests import ChatCompletionRequest
from headrace.server.generation import Generation, TokenUsage
from headrace.server.http.disconnect import stop_on_disconnect
from headrace.server.http.json_body import JsonObject, json_response, read_json
from headrace.server.http.sse import EventStream
from headrace.server.model_pool.request_model import config_of, serve_model
from headrace.server.parsing.answer_stream import AnswerStream
from headrace.server.served_model import ServedModel


async def chat_completions(request: Request) -> Response | EventStream:
    """The endpoint. Raises ApiError, HeadraceError or ClientGoneError."""
    body = await read_json(request, ChatCompletionRequest, config_of(request).max_body_size)
    body.check()
    served = await serve_model(request, body.model)
    model = served.resolve(body.model)
    served.check_task("generate")
    params = chat_sampling_params(body, served)
    tools = plan_tools(body)
    job = render_job(body, served.formats, tools.for_template())
    served.engine.check_queue(params.n)
    prompt = await encode_prompt(body, served, job, params.max_tokens)
    answers = plan_answers(body, tools, served.formats, prompt.text, params)
    params = answers.params
    await _check_grammars(served, params, tools.schema_checks(body.tools or []))
    tokenizer = served.engine.tokenizer
    token_ids = prompt.token_ids
    served.check_accepting()
    kind = "chat.completion.chunk" if body.stream else "chat.completion"
    head = envelope("chatcmpl", kind, model, body.request_id)
    generation = Generation(
        served.engine,
        [token_ids],
        params,
        record=record_generation(request, head, params, [token_ids], is_stream=bool(body.stream)),
        cache_salt=body.cache_salt or "",
        priority=body.priority or 0,
        adapter=served.adapter_of(model),
    )
    stream = answers.stream(tokenizer)
    if body.stream:
        writer = _writer(head, body, generation.usage, token_ids, tokenizer, stream)
        return stream_response(generation, writer, body.stream_interval)
    collector = (
        None if stream is None else AnswerCollector(stream, with_reasoning=body.wants_reasoning)
    )
    async with stop_on_disconnect(request.receive), generation:
        outputs = await generation.outputs(None if collector is None else collector.add)
    response = full_response(
        head,
        [chat_choice(output, body, tokenizer, collector) for output in outputs],
        generation.usage,
        prompt_logprobs=None
        if body.prompt_logprobs is None
        else prompt_logprobs(tokenizer, generation.prompt_logprobs(0)),
        prompt_token_ids=token_ids if body.return_token_ids else None,
        prompt_text=prompt.text if body.return_prompt_text else None,
    )
    return json_response(response)


async def _check_grammars(
    served: ServedModel, params: SamplingParams, schemas: list[Grammar]
) -> None:
    """Raises InvalidParameterError; the schemas first, as their errors are more specific."""
    for schema in schemas:
        await served.engine.check_grammar(params.replace(grammar=schema))
    await served.engine.check_grammar(params)


def chat_sampling_params(body: ChatCompletionRequest, served: ServedModel) -> SamplingParams:
    """Raises InvalidParameterError with the name of the field that the client sent."""
    check_engine_options(body, served.engine.config, top_logprobs=body.top_logprobs)
    max_tokens = body.max_completion_tokens
    try:
        return to_sampling_params(
            body,
            served.sampling_defaults,
            max_tokens=body.max_tokens if max_tokens is None else max_tokens,
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            prompt_logprobs=body.prompt_logprobs,
        )
    except InvalidParameterError as error:
        if error.param != "max_tokens" or max_tokens is None:
            raise
        message = str(error).removeprefix("max_tokens: ")
        raise InvalidParameterError("max_completion_tokens", message) from None


def chat_choice(
    output: CompletionOutput,
    body: ChatCompletionRequest,
    tokenizer: Tokenizer,
    collector: AnswerCollector | None = None,
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


def _writer(
    head: JsonObject,
    body: ChatCompletionRequest,
    usage: TokenUsage,
    prompt_token_ids: list[int],
    tokenizer: Tokenizer,
    answers: AnswerStream | None,
) -> ChunkWriter:
    """answers: None if the output is the content."""
    if answers is None:
        return _ChatChunkWriter(head, body, usage, prompt_token_ids, tokenizer)
    return AnswerChunkWriter(head, body, usage, prompt_token_ids, tokenizer, answers)


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
        self._as_ids = bool(body.return_tokens_as_token_ids)
        self._echo = echoed_text(body)

    def choice(self, delta: ChoiceDelta) -> JsonObject:
        logprobs = None
        if delta.logprobs:
            logprobs = chat_logprobs(self._tokenizer, delta.logprobs, as_ids=self._as_ids)
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
        choice = self.choice(delta)
        choice["delta"]["content"] = self._echo + delta.text
        return first_event + self._event(choice)
