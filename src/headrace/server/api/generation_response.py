"""The parts of a response that both endpoints share."""

import time
from collections.abc import AsyncIterator
from uuid import uuid4

from starlette.requests import Request

from headrace.core.generation.sampling_params import SamplingParams
from headrace.server.api.chunks import ChunkWriter
from headrace.server.api.stream_interval import in_intervals
from headrace.server.generation import Generation, TokenUsage
from headrace.server.http.json_body import JsonObject
from headrace.server.http.request_tracker import GenerationRecord, record_of
from headrace.server.http.sse import EventStream


def envelope(prefix: str, kind: str, model: str, request_id: str | None = None) -> JsonObject:
    """The first keys of every response and chunk. request_id: the client's."""
    return {
        "id": f"{prefix}-{request_id or uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def record_generation(
    request: Request,
    head: JsonObject,
    params: SamplingParams | None,
    prompts: list[list[int]],
    *,
    is_stream: bool,
) -> GenerationRecord:
    """The record of what this request generates, attached to the request's own record.

    params: None for a request for vectors.
    """
    record = record_of(request.scope)
    record.generation = GenerationRecord(
        request_id=head["id"],
        model=head["model"],
        is_stream=is_stream,
        params=params,
        num_choices=len(prompts) * (1 if params is None else params.n),
        arrived_at=record.arrived_at,
        num_prompt_tokens=sum(map(len, prompts)),
    )
    return record.generation


def full_response(
    head: JsonObject, choices: list[JsonObject], usage: TokenUsage, **extra: object
) -> JsonObject:
    """A response that is not streamed. extra: keys of the endpoint.

    Keys that vLLM always sends are present as null: clients read them as attributes, which the
    openai client has only for keys that were sent.
    """
    return {
        **head,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": None,
        "usage": usage.to_dict(),
        **extra,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def stream_response(
    generation: Generation, writer: ChunkWriter, interval: int | None = None
) -> EventStream:
    """The response to a request with stream: true. interval: tokens per chunk."""
    return EventStream(_events(generation, writer, interval), generation)


async def _events(
    generation: Generation, writer: ChunkWriter, interval: int | None
) -> AsyncIterator[bytes]:
    deltas = generation.deltas()
    async for delta in in_intervals(deltas, interval) if interval else deltas:
        yield writer.write(delta)
    yield writer.end()
