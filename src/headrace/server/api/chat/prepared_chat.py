"""A conversation up to its generation: checked, rendered, encoded, and its outputs planned.

Every API that continues a conversation goes through this: its bodies become ChatCompletionRequests.
"""

from dataclasses import dataclass

from starlette.requests import Request

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.grammar import Grammar
from headrace.core.generation.sampling_params import SamplingParams
from headrace.server.api.chat.answer_plan import AnswerPlan, plan_answers
from headrace.server.api.chat.prompt import EncodedPrompt, encode_prompt, render_job
from headrace.server.api.chat.tools import ToolPlan, plan_tools
from headrace.server.api.generation_response import record_generation
from headrace.server.api.sampling import check_engine_options, to_sampling_params
from headrace.server.api.schemas.requests import ChatCompletionRequest
from headrace.server.generation import Generation
from headrace.server.http.json_body import JsonObject
from headrace.server.served_model import ServedModel


@dataclass(frozen=True)
class PreparedChat:
    """One request that can be generated. In a batch, the conversations share all but messages."""

    body: ChatCompletionRequest
    """Of the first conversation."""
    served: ServedModel
    prompts: list[EncodedPrompt]
    """Of each conversation."""
    answers: AnswerPlan

    @property
    def prompt(self) -> EncodedPrompt:
        """Of the first conversation."""
        return self.prompts[0]

    @property
    def params(self) -> SamplingParams:
        return self.answers.params

    def generation(self, request: Request, head: JsonObject, *, is_stream: bool) -> Generation:
        """head: the response's ``id``, and ``model`` as resolved, for the record too."""
        prompts = [prompt.token_ids for prompt in self.prompts]
        return Generation(
            self.served.engine,
            prompts,
            self.params,
            record=record_generation(request, head, self.params, prompts, is_stream=is_stream),
            cache_salt=self.body.cache_salt or "",
            priority=self.body.priority or 0,
            adapter=self.served.adapter_of(head["model"]),
        )


async def prepare_chat(
    body: ChatCompletionRequest, served: ServedModel, *, fits_max_tokens: bool = False
) -> PreparedChat:
    """Prepare a body that was checked. Raises HeadraceError.

    fits_max_tokens: lower max_tokens to what the context has room for, instead of refusing it.
    """
    params = chat_sampling_params(body, served)
    tools = plan_tools(body)
    job = render_job(body, served.formats, tools.for_template())
    served.engine.check_queue(params.n)
    prompt = await encode_prompt(body, served, job, params.max_tokens)
    if fits_max_tokens and params.max_tokens is not None:
        room = served.engine.max_model_len - len(prompt.token_ids)
        params = params.replace(max_tokens=min(params.max_tokens, max(room, 1)))
    return await plan_chat(body, served, tools, [prompt], params)


async def plan_chat(
    body: ChatCompletionRequest,
    served: ServedModel,
    tools: ToolPlan,
    prompts: list[EncodedPrompt],
    params: SamplingParams,
) -> PreparedChat:
    """The last step of preparing, with the prompts encoded. Raises HeadraceError.

    The conversations have the template and its variables in common, so their prompts end alike.
    """
    answers = plan_answers(body, tools, served.formats, prompts[0].text, params)
    await _check_grammars(served, answers.params, tools.schema_checks(body.tools or []))
    served.check_accepting()
    return PreparedChat(body, served, prompts, answers)


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
