"""The workloads: how many requests, how long, how many at once, and their prompts.

Knows no server and no clock.
"""

import random
from dataclasses import dataclass

FIRST_TOKEN_ID = 5
"""Prompts draw from [FIRST_TOKEN_ID, vocab_size): the ids before it are special in many models."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Prompts are random token ids, so that no tokenizer is needed; outputs have a fixed length."""

    name: str
    num_requests: int
    concurrency: int
    """Requests under way at any time, as long as there are more to send."""
    prompt_len: int
    """Tokens of a prompt that are its own."""
    output_len: int
    figures: tuple[str, ...]
    """What its table shows, by name in figures.FIGURES; the file of results has them all."""
    prefix_len: int = 0
    """Tokens that all prompts of a run begin with; they come before prompt_len more."""

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

    def prompts(self, seed: str, vocab_size: int) -> list[list[int]]:
        """The same seed gives the same prompts on any machine; another shares nothing with it."""
        source = random.Random(f"{self.name}/{seed}")

        def draw(num_tokens: int) -> list[int]:
            return [source.randrange(FIRST_TOKEN_ID, vocab_size) for _ in range(num_tokens)]

        prefix = draw(self.prefix_len)
        return [prefix + draw(self.prompt_len) for _ in range(self.num_requests)]


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
            figures=("output_tokens_per_s", "ttft_ms_median", "tpot_ms_median"),
        ),
        Workload(
            "W3",
            num_requests=64,
            concurrency=16,
            prompt_len=128,
            output_len=128,
            figures=(
                "output_tokens_per_s",
                "ttft_ms_median",
                "ttft_ms_p99",
                "itl_ms_median",
                "itl_ms_p99",
            ),
        ),
        Workload(
            "W4",
            num_requests=32,
            concurrency=8,
            prefix_len=1024,
            prompt_len=32,
            output_len=32,
            figures=("output_tokens_per_s", "ttft_ms_median", "ttft_ms_p99"),
        ),
    )
}

WARM_UPS = (
    Workload(
        "warm-up-alone", num_requests=1, concurrency=1, prompt_len=128, output_len=16, figures=()
    ),
    Workload(
        "warm-up-together", num_requests=8, concurrency=8, prompt_len=128, output_len=16, figures=()
    ),
)
"""Sent to each server after it starts, in this order, and not counted."""
