"""POST /v1/chat/completions/batch: several conversations in one request."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.server.api.chat.endpoint import chat_choice, chat_sampling_params
from headrace.server.api.chat.prompt import render_job
from headrace.server.api.generation_response import envelope, full_response, record_generation
from headrace.server.api.schemas.batch import BatchChatCompletionRequest, at_conversation
from headrace.server.generation import Generation
from headrace.server.http.disconnect import stop_on_disconnect
from headrace.server.http.json_body import json_response, read_json
from headrace.server.served_model import ServedModel


async def chat_completions_batch(request: Request) -> Response:
    """The endpoint: choice i is the answer to conversation i.

    Raises ApiError, HeadraceError or ClientGoneError.
    """
    served: ServedModel = request.app.state.served_model
    body = await read_json(request, BatchChatCompletionRequest, served.config.max_body_size)
    body.check()
    model = served.resolve(body.model)
    conversations = body.conversations()
    params = chat_sampling_params(conversations[0], served)
    served.engine.check_queue(params.n, num_prompts=len(conversations))
    texts = []
    for index, conversation in enumerate(conversations):
        with at_conversation(index):
            texts.append(await served.renderer.render(render_job(conversation)))
    prompts = await served.prompt_encoder.encode(
        texts,
        add_special_tokens=bool(body.add_special_tokens),  # the template adds them
    )
    served.check_accepting()
    head = envelope("chatcmpl", "chat.completion", model)
    generation = Generation(
        served.engine,
        prompts,
        params,
        record=record_generation(request, head, params, prompts, is_stream=False),
        cache_salt=body.cache_salt or "",
    )
    async with stop_on_disconnect(request.receive), generation:
        outputs = await generation.outputs()
    tokenizer = served.engine.tokenizer
    response = full_response(
        head,
        [chat_choice(output, conversations[output.index], tokenizer) for output in outputs],
        generation.usage,
        prompt_logprobs=None,
        prompt_token_ids=None,
        prompt_text=None,
    )
    return json_response(response)
