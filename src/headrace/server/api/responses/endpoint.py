"""POST /v1/responses."""

from collections.abc import Sequence
from uuid import uuid4

import orjson
from starlette.requests import Request
from starlette.responses import Response

from headrace.server.api.responses.chat_request import PARAM_NAMES, prepare_response
from headrace.server.api.responses.events import ResponseEvents
from headrace.server.api.responses.input_items import normalized_input
from headrace.server.api.responses.output_items import OutputItems
from headrace.server.api.responses.request import ResponsesRequest
from headrace.server.api.responses.response_object import ResponseObject
from headrace.server.http.auth import key_digest
from headrace.server.http.disconnect import stop_on_disconnect
from headrace.server.http.errors import unknown_previous_response
from headrace.server.http.json_body import JsonObject, json_response, read_json
from headrace.server.http.sse import EventStream
from headrace.server.model_pool.request_model import config_of, serve_model
from headrace.server.response_store import ResponseStore, StoredResponse, stored_responses


async def create_response(request: Request) -> Response | EventStream:
    """The endpoint. Raises ApiError, HeadraceError or ClientGoneError."""
    body = await read_json(request, ResponsesRequest, config_of(request).max_body_size)
    body.check()
    store, owner = stored_responses(request), key_digest(request.scope)
    items = _conversation(body, store, owner)
    served = await serve_model(request, body.model)
    model = served.resolve(body.model)
    served.check_task("generate")
    chat = await prepare_response(body, items, served)
    response = ResponseObject(
        response_id=f"resp_{uuid4().hex}", model=model, body=body, params=chat.params
    )
    head = {"id": response.response_id, "model": model}
    generation = chat.generation(request, head, is_stream=bool(body.stream))
    tokenizer = served.engine.tokenizer
    output = OutputItems(chat.answers.events(tokenizer), tokenizer)

    def on_finished(whole: JsonObject) -> None:
        if body.store is not False:
            _store(store, owner, whole, items)

    if body.stream:
        events = ResponseEvents(response, output, generation, on_finished)
        return EventStream(events.encoded(), generation, events.failed)
    with PARAM_NAMES.apply():
        async with stop_on_disconnect(request.receive), generation:
            [ended] = await generation.outputs(output.add)
    whole = response.finished(
        ended.finish_reason, output.items, generation.usage, output.num_reasoning_tokens
    )
    on_finished(whole)
    return json_response(whole)


def _conversation(body: ResponsesRequest, store: ResponseStore, owner: bytes) -> list[JsonObject]:
    """The items of the request, after those of the response that it continues."""
    items = normalized_input(body.input)
    previous_id = body.previous_response_id
    if previous_id is None:
        return items
    previous = store.get(owner, previous_id)
    if previous is None:
        raise unknown_previous_response(previous_id)
    return previous.conversation() + items


def _store(
    store: ResponseStore, owner: bytes, response: JsonObject, items: Sequence[JsonObject]
) -> None:
    entry = StoredResponse(orjson.dumps(response), orjson.dumps(items))
    store.add(owner, response["id"], entry)
