"""POST /v1/chat/completions/batch: several conversations in one request."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.server.api.chat.answer_plan import plan_answers
from headrace.server.api.chat.answers import AnswerCollector
from headrace.server.api.chat.endpoint import chat_choice
from headrace.server.api.chat.prepared_chat import chat_sampling_params
from headrace.server.api.chat.prompt import encode_prompt, render_job
from headrace.server.api.chat.tools import plan_tools
from headrace.server.api.generation_response import envelope, full_response, record_generation
from headrace.server.api.schemas.batch import BatchChatCompletionRequest, at_conversation
from headrace.server.generation import Generation
from headrace.server.http.disconnect import stop_on_disconnect
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
    encoded = []
    for index, conversation in enumerate(conversations):
        with at_conversation(index):
            job = render_job(conversation, served.formats, None)
            encoded.append(await encode_prompt(conversation, served, job, params.max_tokens))
    # The conversations have the template and its variables in common, so their prompts end alike.
    answers = plan_answers(
        conversations[0], plan_tools(conversations[0]), served.formats, encoded[0].text, params
    )
    params = answers.params
    await served.engine.check_grammar(params)
    prompts = [prompt.token_ids for prompt in encoded]
    served.check_accepting()
    head = envelope("chatcmpl", "chat.completion", model)
    generation = Generation(
        served.engine,
        prompts,
        params,
        record=record_generation(request, head, params, prompts, is_stream=False),
        cache_salt=body.cache_salt or "",
        adapter=served.adapter_of(model),
    )
    tokenizer = served.engine.tokenizer
    stream = answers.stream(tokenizer)
    collector = (
        None if stream is None else AnswerCollector(stream, with_reasoning=body.wants_reasoning)
    )
    async with stop_on_disconnect(request.receive), generation:
        outputs = await generation.outputs(None if collector is None else collector.add)
    response = full_response(
        head,
        [
            chat_choice(output, conversations[output.index], tokenizer, collector)
            for output in outputs
        ],
        generation.usage,
        prompt_logprobs=None,
        prompt_token_ids=None,
        prompt_text=None,
    )
    return json_response(response)
