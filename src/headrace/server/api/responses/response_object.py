"""The response as an object, at each stage of its generation."""

import time
from dataclasses import dataclass, field

from headrace.core.generation.outputs import FinishReason
from headrace.core.generation.sampling_params import SamplingParams
from headrace.server.api.responses.request import ResponsesRequest, ResponsesToolChoice
from headrace.server.generation import TokenUsage
from headrace.server.http.errors import ApiError
from headrace.server.http.json_body import JsonObject


@dataclass(frozen=True, kw_only=True)
class ResponseObject:
    """Of one request."""

    response_id: str
    model: str
    body: ResponsesRequest
    params: SamplingParams
    created_at: int = field(default_factory=lambda: int(time.time()))

    def in_progress(self) -> JsonObject:
        return self._object("in_progress")

    def finished(
        self,
        reason: FinishReason | None,
        output: list[JsonObject],
        usage: TokenUsage,
        num_reasoning_tokens: int,
    ) -> JsonObject:
        """Completed or incomplete."""
        is_cut = reason is FinishReason.LENGTH
        return self._object(
            "incomplete" if is_cut else "completed",
            completed_at=None if is_cut else int(time.time()),
            incomplete_details={"reason": "max_output_tokens"} if is_cut else None,
            output=output,
            usage=_usage(usage, num_reasoning_tokens),
        )

    def failed(self, error: ApiError, output: list[JsonObject]) -> JsonObject:
        code = "server_error" if error.status >= 500 else "invalid_prompt"
        message = error.body["error"]["message"]
        return self._object("failed", error={"code": code, "message": message}, output=output)

    def _object(self, status: str, **changes: object) -> JsonObject:
        body, params = self.body, self.params
        text = {} if body.text is None else body.text.model_dump(by_alias=True, exclude_none=True)
        reasoning = body.reasoning
        return {
            "id": self.response_id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "background": False,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": None,
            "metadata": body.metadata or {},
            "model": self.model,
            "output": [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "prompt_cache_key": None,
            "reasoning": {
                "effort": None if reasoning is None else reasoning.effort,
                "summary": None,
            },
            "safety_identifier": None,
            "service_tier": "default",
            "store": body.store is not False,
            "temperature": params.temperature,
            "text": {"format": {"type": "text"}, "verbosity": "medium", **text},
            "tool_choice": _tool_choice(body),
            "tools": [_tool(tool.model_dump()) for tool in body.tools or ()],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": params.top_p,
            "truncation": body.truncation or "disabled",
            "usage": None,
            "user": body.user,
            **changes,
        }


def _tool(given: JsonObject) -> JsonObject:
    return {**given, "strict": bool(given["strict"])}


def _tool_choice(body: ResponsesRequest) -> str | JsonObject:
    choice = body.tool_choice
    if isinstance(choice, ResponsesToolChoice):
        return choice.model_dump(exclude_none=True)
    return choice or ("auto" if body.tools else "none")


def _usage(usage: TokenUsage, num_reasoning_tokens: int) -> JsonObject:
    return {
        "input_tokens": usage.num_prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.num_cached_tokens,
            "cache_write_tokens": 0,
        },
        "output_tokens": usage.num_output_tokens,
        "output_tokens_details": {"reasoning_tokens": num_reasoning_tokens},
        "total_tokens": usage.num_prompt_tokens + usage.num_output_tokens,
    }
