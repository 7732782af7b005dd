"""The model runner's state of a request between steps.

It is built from `SchedulerOutput` alone: the runner never sees the scheduler's `Request`.
"""

from dataclasses import dataclass

from headrace.core.generation.pooling import PoolingParams
from headrace.core.generation.sampling_params import SamplingParams
from headrace.scheduler.output import AdmittedRequest


@dataclass(slots=True, eq=False)
class RequestState:
    """One request, from its `AdmittedRequest` until it is released."""

    request_id: str
    params: SamplingParams
    token_ids: list[int]
    """Prompt, then output, as far as the scheduler has sent it."""
    num_prompt_tokens: int
    seed: int = 0
    choice: int = 0
    eos_token_ids: frozenset[int] = frozenset()
    pooling: PoolingParams | None = None
    adapter_id: int = 0
    row: int = 0
    """Row of the batch's block tables."""
    num_blocks: int = 0
    """Blocks in that row."""

    @classmethod
    def of(cls, request: AdmittedRequest, row: int) -> "RequestState":
        return cls(
            request_id=request.request_id,
            params=request.params,
            token_ids=[*request.prompt_token_ids, *request.output_token_ids],
            num_prompt_tokens=len(request.prompt_token_ids),
            seed=request.seed,
            choice=request.choice,
            eos_token_ids=request.eos_token_ids,
            pooling=request.pooling,
            adapter_id=request.adapter_id,
            row=row,
        )

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens
