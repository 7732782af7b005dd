"""POST /v1/completions."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.outputs import ChoiceDelta, CompletionOutput
from headrace.engine.tokenization.input_encoder import Truncation
from headrace.engine.tokenization.literal_text import HiddenTokens
from headrace.server.api.chunks import ChunkWriter
from headrace.server.api.generation_response import (
    envelope,
    full_response,
    record_generation,
    stream_response,
)
from headrace.server.api.logprobs import CompletionLogprobsBuilder, prompt_logprobs
from headrace.server.api.sampling import (
    check_engine_options,
    to_sampling_params,
    truncation_of,
)
from headrace.server.api.schemas.requests import CompletionRequest
from headrace.server.generation import Generation, TokenUsage
from headrace.server.http.disconnect import stop_on_disconnect
from headrace.server.http.json_body import JsonObject, json_response, read_json
from headrace.server.http.sse import EventStream
from headrace.server.model_pool.request_model import config_of, serve_model
from headrace.server.prompt_encoder import PromptEncoder

DEFAULT_MAX_TOKENS = 16


async def completions(request: Request) -> Response | EventStream:
    """The endpoint. Raises ApiError, HeadraceError or ClientGoneError."""
    body = await read_json(request, CompletionRequest, config_of(request).max_body_size)
    body.check()
    served = await serve_model(request, body.model)
    check_engine_options(body, served.engine.config, logprobs=body.logprobs)
    model = served.resolve(body.model)
    served.check_task("generate")
    params = to_sampling_params(
        body,
        served.sampling_defaults,
        max_tokens=DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens,
        logprobs=body.logprobs,
        prompt_logprobs=body.logprobs
        if body.echo and body.prompt_logprobs is None
        else body.prompt_logprobs,
    )
    served.engine.check_queue(params.n, num_prompts=len(_prompts(body)))
    await served.engine.check_grammar(params)
    truncation = truncation_of(body, served.engine.max_model_len, params.max_tokens)
    prompts = await _tokenize(served.prompt_encoder, body, truncation)
    served.check_accepting()
    head = envelope("cmpl", "text_completion", model, body.request_id)
    token_ids = [prompt.token_ids for prompt in prompts]
    generation = Generation(
        served.engine,
        token_ids,
        params,
        record=record_generation(request, head, params, token_ids, is_stream=bool(body.stream)),
        cache_salt=body.cache_salt or "",
        priority=body.priority or 0,
        adapter=served.adapter_of(model),
    )

    def new_logprobs(index: int) -> CompletionLogprobsBuilder:
        """For the choice at this index, of which the prompt is computed."""
        engine = served.engine
        builder = CompletionLogprobsBuilder(
            engine.tokenizer,
            engine.create_detokenizer(params),
            as_ids=bool(body.return_tokens_as_token_ids),
        )
        if body.echo:
            prompt = prompts[index // params.n]
            entries = generation.prompt_logprobs(index)
            shown = engine.create_detokenizer(params.replace(skip_special_tokens=False))
            builder.add_prompt(prompt.token_ids, entries, prompt.echo, shown)
        return builder

    if body.stream:
        writer = _CompletionChunkWriter(head, body, generation.usage, prompts, new_logprobs)
        return stream_response(generation, writer, body.stream_interval)
    async with stop_on_disconnect(request.receive), generation:
        outputs = await generation.outputs()
    choices = [_choice(output, prompts[output.index // params.n], body) for output in outputs]
    for choice, output in zip(choices, outputs, strict=True):
        index = output.index
        if output.logprobs is not None:
            builder = new_logprobs(index)
            choice["logprobs"] = builder.add(output.logprobs, choice["text"], is_last=True)
        if body.prompt_logprobs is not None:
            entries = generation.prompt_logprobs(index)
            choice["prompt_logprobs"] = prompt_logprobs(served.engine.tokenizer, entries)
    return json_response(full_response(head, choices, generation.usage))


@dataclass(frozen=True, slots=True)
class _Prompt:
    token_ids: list[int]
    echo: str
    """The text to put in front of the output: the prompt's, or an empty string."""


async def _tokenize(
    encoder: PromptEncoder, body: CompletionRequest, truncation: Truncation | None
) -> list[_Prompt]:
    prompts = _prompts(body)
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    if texts:
        hidden, shown = HiddenTokens(), texts
        if body.parse_special_tokens is False:
            for text in texts:
                encoder.check_text(text, truncation)
            shown = await encoder.hide_special_tokens(texts, hidden, sum(map(len, texts)))
        token_ids = await encoder.encode(
            shown,
            add_special_tokens=body.add_special_tokens is not False,
            truncation=truncation,
            hidden=hidden,
        )
    else:
        token_ids = [prompt for prompt in prompts if not isinstance(prompt, str)]
        if truncation is not None:
            token_ids = list(map(truncation.apply, token_ids))
        for prompt in token_ids:
            encoder.check(prompt)
    if body.echo and (not texts or truncation is not None):
        texts = await encoder.decode(token_ids)
    if not body.echo:
        return [_Prompt(prompt, "") for prompt in token_ids]
    return [_Prompt(prompt, text) for prompt, text in zip(token_ids, texts, strict=True)]


def _prompts(body: CompletionRequest) -> list[str] | list[list[int]]:
    prompt = body.prompt
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise InvalidParameterError("prompt", "must not be an empty list")
    if isinstance(prompt[0], int):
        return [prompt]
    return prompt


def _choice(output: CompletionOutput, prompt: _Prompt, body: CompletionRequest) -> JsonObject:
    """Without log-probabilities."""
    with_ids = bool(body.return_token_ids)
    return {
        "index": output.index,
        "text": prompt.echo + output.text,
        "logprobs": None,
        "finish_reason": output.finish_reason,
        "stop_reason": output.stop_reason,
        "token_ids": output.token_ids if with_ids else None,
        "prompt_logprobs": None,
        "prompt_token_ids": prompt.token_ids if with_ids else None,
        "routed_experts": None,
    }


class _CompletionChunkWriter(ChunkWriter):
    """The chunks of a completion. An echoed prompt is sent with the first text of each choice."""

    def __init__(
        self,
        head: JsonObject,
        body: CompletionRequest,
        usage: TokenUsage,
        prompts: list[_Prompt],
        new_logprobs: Callable[[int], CompletionLogprobsBuilder],
    ) -> None:
        super().__init__(head, body, usage)
        self._prompts = prompts
        self._n = body.n or 1
        self._with_logprobs = body.logprobs_wanted
        self._new_logprobs = new_logprobs
        self._logprobs: dict[int, CompletionLogprobsBuilder] = {}
        """By choice index."""

    def choice(self, delta: ChoiceDelta) -> JsonObject:
        return self._choice(delta, delta.text, None)

    def first(self, delta: ChoiceDelta) -> bytes:
        prompt = self._prompts[delta.index // self._n]
        token_ids = prompt.token_ids if self._with_token_ids else None
        return self._event(self._choice(delta, prompt.echo + delta.text, token_ids))

    def _choice(
        self, delta: ChoiceDelta, text: str, prompt_token_ids: list[int] | None
    ) -> JsonObject:
        logprobs: JsonObject | None = None
        if self._with_logprobs:
            builder = self._logprobs.get(delta.index)
            if builder is None:
                builder = self._logprobs[delta.index] = self._new_logprobs(delta.index)
            is_last = delta.finish_reason is not None
            logprobs = builder.add(delta.logprobs or [], text, is_last)
        return {
            "index": delta.index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": delta.finish_reason,
            "stop_reason": delta.stop_reason,
            "prompt_token_ids": prompt_token_ids,
            "token_ids": delta.token_ids if self._with_token_ids else None,
        }
