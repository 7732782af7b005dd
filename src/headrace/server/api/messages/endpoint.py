"""POST /v1/messages and /v1/messages/count_tokens."""

from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from headrace.core.errors import InvalidParameterError
from headrace.server.api.chat.prepared_chat import prepare_chat
from headrace.server.api.chat.prompt import render_job, render_prompt
from headrace.server.api.chat.tools import plan_tools
from headrace.server.api.messages.chat_request import PARAM_NAMES, to_chat
from headrace.server.api.messages.content_blocks import ContentBlocks
from headrace.server.api.messages.message_object import MessageEvents, MessageObject, error_event
from headrace.server.api.messages.request import CountTokensRequest, MessagesRequest
from headrace.server.api.schemas.tokenization import MAX_TEXT_CHARS
from headrace.server.http.disconnect import stop_on_disconnect
from headrace.server.http.json_body import json_response, read_json
from headrace.server.http.sse import EventStream
from headrace.server.model_pool.request_model import config_of, serve_model


async def create_message(request: Request) -> Response | EventStream:
    """The endpoint. Raises ApiError, HeadraceError or ClientGoneError."""
    body = await read_json(request, MessagesRequest, config_of(request).max_body_size)
    body.check()
    served = await serve_model(request, body.model)
    model = served.resolve(body.model)
    served.check_task("generate")
    chat_body = to_chat(body)
    with PARAM_NAMES.apply():
        chat_body.check()
        chat = await prepare_chat(chat_body, served, fits_max_tokens=True)
    message_id = f"msg_{uuid4().hex}"
    head = {"id": message_id, "model": model}
    generation = chat.generation(request, head, is_stream=bool(body.stream))
    content = ContentBlocks(
        chat.answers.events(served.engine.tokenizer), with_thinking=chat_body.wants_reasoning
    )
    message = MessageObject(
        message_id=message_id,
        model=model,
        max_tokens=body.max_tokens,
        content=content,
        usage=generation.usage,
    )
    if body.stream:
        events = MessageEvents(message, generation)
        return EventStream(events.encoded(), generation, error_event)
    with PARAM_NAMES.apply():
        async with stop_on_disconnect(request.receive), generation:
            [ended] = await generation.outputs(content.add)
    return json_response(message.finished(ended.finish_reason, ended.stop_reason))


async def count_tokens(request: Request) -> Response:
    """The number of tokens of the rendered conversation, which may be longer than the context.

    Raises ApiError, HeadraceError or ClientGoneError.
    """
    body = await read_json(request, CountTokensRequest, config_of(request).max_body_size)
    body.check()
    served = await serve_model(request, body.model)
    served.check_task("generate")
    chat = to_chat(body)
    with PARAM_NAMES.apply():
        chat.check()
        job = render_job(chat, served.formats, plan_tools(chat).for_template())
        prompt = await render_prompt(chat, served, job, _check_length)
        encoded = await served.prompt_encoder.tokenize(
            prompt.text, add_special_tokens=False, with_strings=False, hidden=prompt.hidden
        )
    return json_response({"input_tokens": len(encoded.token_ids)})


def _check_length(text: str) -> None:
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidParameterError(
            "messages",
            f"have {len(text)} characters when rendered; at most {MAX_TEXT_CHARS} are counted",
        )
