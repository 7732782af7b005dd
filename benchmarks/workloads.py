"""The workloads W1 to W4, and the warm-ups."""

import random
from dataclasses import dataclass

from headrace.bench.records import PlannedRequest
from headrace.bench.workloads.factory import load_workload
from headrace.bench.workloads.options import WorkloadOptions


@dataclass(frozen=True, slots=True)
class Workload:
    """Prompts are random token ids, which need no tokenizer; outputs have a fixed length."""

    name: str
    num_requests: int
    concurrency: int
    """Requests in flight, as long as there are more to send."""
    prompt_len: int
    """Tokens per prompt, without the shared prefix."""
    output_len: int
    figures: tuple[str, ...] = ()
    """Figures in its tables, by their names in pairing.COMPARED; result files have all."""
    prefix_len: int = 0
    """Tokens of the prefix that all prompts of a run share."""

    @property
    def description(self) -> str:
        if self.concurrency == 1:
            pace = "one at a time"
        elif self.concurrency >= self.num_requests:
            pace = "all at once"
        else:
            pace = f"{self.concurrency} at a time"
        prompt = f"{self.prompt_len} in"
        if self.prefix_len:
            prompt = f"{self.prefix_len} shared + {self.prompt_len} in"
        return f"{self.num_requests} requests {pace}, {prompt}, {self.output_len} out"

    def requests(self, seed: str, vocab_size: int) -> list[PlannedRequest]:
        """The same seed gives the same prompts on any machine. Prompts of other seeds and other
        workloads have no prefix in common with them."""
        return load_workload(
            WorkloadOptions(
                "random",
                num_prompts=self.num_requests,
                seed=random.Random(f"{self.name}/{seed}").getrandbits(63),
                input_len=self.prompt_len,
                output_len=self.output_len,
                prefix_len=self.prefix_len,
                vocab_size=vocab_size,
            )
        )


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "W1",
            num_requests=64,
            concurrency=64,
            prompt_len=128,
            output_len=128,
            figures=("output_tokens_per_s",),
        ),
        Workload(
            "W2",
            num_requests=8,
            concurrency=1,
            prompt_len=128,
            output_len=128,
            figures=("output_tokens_per_s", "ttft_s_p50", "tpot_s_p50"),
        ),
        Workload(
            "W3",
            num_requests=64,
            concurrency=16,
            prompt_len=128,
            output_len=128,
            figures=("output_tokens_per_s", "ttft_s_p50", "ttft_s_p99", "itl_s_p50", "itl_s_p99"),
        ),
        Workload(
            "W4",
            num_requests=32,
            concurrency=8,
            prefix_len=1024,
            prompt_len=32,
            output_len=32,
            figures=("output_tokens_per_s", "ttft_s_p50", "ttft_s_p99"),
        ),
    )
}

WARM_UPS = (
    Workload("warm-up-alone", num_requests=1, concurrency=1, prompt_len=128, output_len=16),
    Workload("warm-up-together", num_requests=8, concurrency=8, prompt_len=128, output_len=16),
)
"""Sent to each server after it starts, unmeasured, in this order."""
