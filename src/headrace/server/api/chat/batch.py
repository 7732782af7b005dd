"""POST /v1/chat/completions/batch: several conversations in one request."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.server.api.chat.endpoint import whole_choices
from headrace.server.api.chat.prepared_chat import chat_sampling_params, plan_chat
from headrace.server.api.chat.prompt import encode_prompt, render_job
from headrace.server.api.chat.tools import plan_tools
from headrace.server.api.generation_response import envelope, full_response
from headrace.server.api.schemas.batch import BatchChatCompletionRequest, at_conversation
from headrace.server.http.json_body import json_response, read_json
from headrace.server.model_pool.request_model import config_of, serve_model


async def chat_completions_batch(request: Request) -> Response:
    """The endpoint: choice i is the answer to conversation i.

    Raises ApiError, HeadraceError or ClientGoneError.
    """
    body = await read_json(request, BatchChatCompletionRequest, config_of(request).max_body_size)
    body.check()
    served = await serve_model(request, body.model)
    model = served.resolve(body.model)
    served.check_task("generate")
    conversations = body.conversations()
    params = chat_sampling_params(conversations[0], served)
    served.engine.check_queue(params.n, num_prompts=len(conversations))
    prompts = []
    for index, conversation in enumerate(conversations):
        with at_conversation(index):
            job = render_job(conversation, served.formats, None)
            prompts.append(await encode_prompt(conversation, served, job, params.max_tokens))
    tools = plan_tools(conversations[0])
    chat = await plan_chat(conversations[0], served, tools, prompts, params)
    head = envelope("chatcmpl", "chat.completion", model)
    generation = chat.generation(request, head, is_stream=False)
    response = full_response(
        head,
        await whole_choices(request, chat, generation, conversations),
        generation.usage,
        prompt_logprobs=None,
        prompt_token_ids=None,
        prompt_text=None,
    )
    return json_response(response)
