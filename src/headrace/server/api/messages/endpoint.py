"""POST /v1/messages and /v1/messages/count_tokens."""

from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from headrace.core.errors import ContextLengthError, InvalidParameterError
from headrace.engine.rendering.prompt_template import RenderJob
from headrace.server.api.chat.prepared_chat import prepare_chat
from headrace.server.api.chat.prompt import encode_prompt, render_job
from headrace.server.api.chat.tools import plan_tools
from headrace.server.api.messages.chat_request import PARAM_NAMES, to_chat
from headrace.server.api.messages.content_blocks import ContentBlocks
from headrace.server.api.messages.message_object import MessageEvents, MessageObject, error_event
from headrace.server.api.messages.request import CountTokensRequest, MessagesRequest
from headrace.server.api.schemas.tokenization import MAX_TEXT_CHARS
from headrace.server.http.disconnect import stop_on_disconnect
from headrace.server.http.json_body import json_response, read_json
from headrace.server.http.sse import EventStream
from headrace.server.served_model import ServedModel


async def create_message(request: Request) -> Response | EventStream:
    """The endpoint. Raises ApiError, HeadraceError or ClientGoneError."""
    served: ServedModel = request.app.state.served_model
    body = await read_json(request, MessagesRequest, served.config.max_body_size)
    body.check()
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
    served: ServedModel = request.app.state.served_model
    body = await read_json(request, CountTokensRequest, served.config.max_body_size)
    body.check()
    served.resolve(body.model)
    served.check_task("generate")
    chat = to_chat(body)
    with PARAM_NAMES.apply():
        chat.check()
        job = render_job(chat, served.formats, plan_tools(chat).for_template())
        try:
            num_tokens = len((await encode_prompt(chat, served, job, None)).token_ids)
        except ContextLengthError:
            num_tokens = await _count_long(job, served)
    return json_response({"input_tokens": num_tokens})


async def _count_long(job: RenderJob, served: ServedModel) -> int:
    """Of a conversation that is longer than the context."""
    text = await served.renderer.render(job)
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidParameterError("messages", f"must have at most {MAX_TEXT_CHARS} characters")
    encoded = await served.prompt_encoder.tokenize(
        text, add_special_tokens=False, with_strings=False
    )
    return len(encoded.token_ids)
