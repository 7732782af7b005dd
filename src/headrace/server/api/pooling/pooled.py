"""What the endpoints share: computes the vectors of one request's inputs."""

import base64
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import orjson
from starlette.requests import Request
from starlette.responses import Response

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.pooling import PoolingParams
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.tokenization.input_encoder import EncodedInput, Input
from headrace.server.api.generation_response import record_generation
from headrace.server.api.schemas.pooling.requests import InputBody, PoolingBody
from headrace.server.generation import Generation
from headrace.server.http.disconnect import stop_on_disconnect
from headrace.server.http.json_body import JsonObject
from headrace.server.served_model import ServedModel

Vector = npt.NDArray[np.float32]

_NO_TOKENS = SamplingParams(max_tokens=1)


async def encode_texts(
    served: ServedModel, body: PoolingBody, texts: Sequence[Input]
) -> list[EncodedInput]:
    """Texts or pairs, each with at least one token or InvalidParameterError."""
    sentence = served.sentence_config
    if sentence is not None and sentence.lowercase:
        texts = [_lower(text) for text in texts]
    return await served.prompt_encoder.encode_inputs(
        texts,
        body.truncation(served.engine.max_model_len),
        add_special_tokens=body.add_special_tokens is not False,
    )


async def encode_body(served: ServedModel, body: InputBody, prefix: str = "") -> list[EncodedInput]:
    """The inputs of a body. prefix: put before inputs that are texts."""
    inputs = body.inputs()
    texts = [prefix + each for each in inputs if isinstance(each, str)]
    if texts:
        return await encode_texts(served, body, texts)
    truncation = body.truncation(served.engine.max_model_len)
    return [
        EncodedInput(each if truncation is None else truncation.apply(each))
        for each in inputs
        if isinstance(each, list)
    ]


async def compute(
    request: Request,
    served: ServedModel,
    body: PoolingBody,
    head: JsonObject,
    inputs: list[EncodedInput],
    dimensions: int | None = None,
) -> list[Vector]:
    """The vector of each input; raises the errors of Generation."""
    served.check_accepting()
    prompts = [each.token_ids for each in inputs]
    for position, prompt in enumerate(prompts):
        if not prompt:
            raise InvalidParameterError(body.prompt_field, f"input {position} has no tokens")
    generation = Generation(
        served.engine,
        prompts,
        _NO_TOKENS,
        record=record_generation(request, head, None, prompts, is_stream=False),
        cache_salt=body.cache_salt or "",
        pooling=[
            PoolingParams(dimensions, body.use_activation, each.second_start) for each in inputs
        ],
    )
    try:
        async with stop_on_disconnect(request.receive), generation:
            return [np.frombuffer(vector, "<f4") for vector in await generation.vectors()]
    except InvalidParameterError as error:
        if error.param != "prompt":
            raise
        message = str(error).removeprefix("prompt: ")
        raise InvalidParameterError(body.prompt_field, message) from None


def encode_vector(vector: Vector, encoding_format: str | None) -> Vector | str:
    """Numbers, or base64 of their bytes; for ``vector_response``."""
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector


def vector_response(content: JsonObject) -> Response:
    """As json_response, with arrays as lists of numbers."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, media_type="application/json")


def usage_of(inputs: Sequence[EncodedInput]) -> JsonObject:
    num_tokens = sum(len(each.token_ids) for each in inputs)
    return {"prompt_tokens": num_tokens, "total_tokens": num_tokens}


def _lower(text: Input) -> Input:
    return text.lower() if isinstance(text, str) else (text[0].lower(), text[1].lower())
