"""Decode throughput relative to the roofline of this machine (Williams et al., 2009).

A decode step must read every weight once, and the keys and values of all previous tokens, and
multiply by all of them. The longer of the two times, at the machine's measured limits, is the lower
bound of a step. Runs in this process, on a CPU or a CUDA device.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from machine_limits import MachineLimits, measure_limits
from rich.console import Console
from rich.table import Table

from headrace import LLM, SamplingParams
from headrace.models.config import DecoderConfig
from headrace.models.loaders.checkpoint import open_checkpoint
from headrace.models.sources.resolve import resolve_model


@dataclass(frozen=True, slots=True)
class StepCost:
    """The minimum that one decode step has to read and to multiply."""

    num_bytes: float
    num_flops: float

    def least_s(self, limits: MachineLimits) -> float:
        return max(self.num_bytes / limits.bytes_per_s, self.num_flops / limits.flops_per_s)

    def bound_by(self, limits: MachineLimits) -> str:
        memory_s = self.num_bytes / limits.bytes_per_s
        return "memory" if memory_s > self.num_flops / limits.flops_per_s else "arithmetic"


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """Decoding at one batch size."""

    batch_size: int
    step_s: float
    least_step_s: float
    bound_by: str

    @property
    def tokens_per_s(self) -> float:
        return self.batch_size / self.step_s

    @property
    def share(self) -> float:
        """Of what the machine can do."""
        return self.least_step_s / self.step_s


def main() -> None:
    """Measure the machine, then each batch size, and show both."""
    given = _parse()
    console = Console()
    sizes = [int(size) for size in given.batch_sizes.split(",")]
    files = resolve_model(given.model)
    checkpoint = open_checkpoint(files)
    llm = LLM(
        given.model,
        device=given.device,
        dtype=given.dtype,
        max_num_seqs=max(sizes),
        max_num_batched_tokens=max(max(sizes) * given.input_len, 2048),
        max_model_len=given.input_len + given.output_len,
    )
    dtype = getattr(torch, llm.ready.dtype or "float32")
    settings = {name: value for name, value, _ in llm.ready.settings}
    device = torch.device("cuda" if "cuda" in settings.get("device", "cpu") else "cpu")
    limits = measure_limits(device, dtype)
    console.print(
        f"{given.model} in {llm.ready.dtype} on {settings.get('device', device)}. The machine reads"
        f" {limits.bytes_per_s / 1e9:,.0f} GB/s and multiplies at"
        f" {limits.flops_per_s / 1e9:,.0f} GFLOP/s."
    )
    context = given.input_len + given.output_len / 2
    measured = []
    for size in sizes:
        cost = step_cost(
            checkpoint.config, checkpoint.num_parameters, dtype.itemsize, size, context
        )
        step_s = measure_step(llm, size, given.input_len, given.output_len, given.repeats)
        measured.append(MeasuredRun(size, step_s, cost.least_s(limits), cost.bound_by(limits)))
    console.print(as_table(measured))
    if given.output is not None:
        rows = [{**asdict(one), "tokens_per_s": one.tokens_per_s} for one in measured]
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(json.dumps({"limits": asdict(limits), "decoding": rows}, indent=1))


def step_cost(
    config: DecoderConfig, num_parameters: int, itemsize: int, batch_size: int, context: float
) -> StepCost:
    """``context``: tokens before each new one, on average; ``itemsize``: bytes of a number."""
    # Of an embedding that is no output layer too, a step reads only its tokens' rows.
    embedding = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    num_weights = num_parameters - embedding
    contexts = [
        min(context, config.window_of(layer) or context) for layer in range(config.num_layers)
    ]
    kv_numbers = sum(2 * config.num_kv_heads * config.head_dim * seen for seen in contexts)
    attention_flops = sum(4 * config.num_heads * config.head_dim * seen for seen in contexts)
    return StepCost(
        num_bytes=itemsize * (num_weights + batch_size * kv_numbers),
        num_flops=batch_size * (2 * num_weights + attention_flops),
    )


def measure_step(
    llm: LLM, batch_size: int, input_len: int, output_len: int, num_repeats: int
) -> float:
    """Seconds of one decode step: what more tokens cost over one token, by their number."""
    draw = random.Random(batch_size)
    _generate_s(llm, draw, batch_size, input_len, output_len)
    steps = []
    for _ in range(num_repeats):
        long_s = _generate_s(llm, draw, batch_size, input_len, output_len)
        short_s = _generate_s(llm, draw, batch_size, input_len, 1)
        steps.append((long_s - short_s) / (output_len - 1))
    return statistics.median(steps)


def as_table(measured: Sequence[MeasuredRun]) -> Table:
    """For a terminal."""
    table = Table(
        "batch size", "tokens/s", "ms per step", "minimum ms", "of the limit", "limited by"
    )
    for column in table.columns[:-1]:
        column.justify = "right"
    for one in measured:
        table.add_row(
            str(one.batch_size),
            f"{one.tokens_per_s:,.0f}",
            f"{one.step_s * 1e3:.2f}",
            f"{one.least_step_s * 1e3:.2f}",
            f"{one.share:.0%}",
            one.bound_by,
        )
    return table


def _generate_s(
    llm: LLM, draw: random.Random, batch_size: int, input_len: int, output_len: int
) -> float:
    """New prompts each time, so that no prefix is cached."""
    prompts = [
        [draw.randrange(5, llm.ready.vocab_size) for _ in range(input_len)]
        for _ in range(batch_size)
    ]
    params = SamplingParams(temperature=0.0, max_tokens=output_len, ignore_eos=True)
    began = time.perf_counter()
    llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
    return time.perf_counter() - began


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch-sizes", default="1,8,64")
    parser.add_argument("--input-len", type=int, default=128)
    parser.add_argument("--output-len", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
