"""One part of a session in a process of its own, so that each part has the whole GPU's memory.

    python worker.py limits  OUTPUT --device cuda --dtype bfloat16
    python worker.py write   OUTPUT --device cuda --dtype bfloat16 --model NAME --directory DIR
    python worker.py measure OUTPUT ... --peer headrace --plan JSON --limits JSON

OUTPUT is a JSON file that is replaced after every figure, so that a part which is stopped keeps
what it has measured.
"""

import argparse
import json
import platform
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from machine_limits import MachineLimits, measure_limits
from peers import Headrace, Peer, Prompts, Transformers
from random_models import write_random_model
from roofline import StepCost, step_cost

from headrace.models.config import DecoderConfig
from headrace.models.loaders.expected_weights import num_parameters
from headrace.models.loaders.huggingface.config import read_hf_config

FIRST_TOKEN_ID = 5
"""Below it are the special tokens."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured of each model by each peer."""

    batch_sizes: tuple[int, ...]
    """Of the decode steps."""
    input_len: int
    output_len: int
    num_repeats: int
    num_requests: int
    """Of the batch whose throughput is measured."""
    peer_batch_size: int
    """Into which transformers cuts that batch."""


class Output:
    """The part's result on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, Any] = {}

    def write(self, **values: Any) -> None:
        self.values.update(values)
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self.values))
        partial.replace(self._path)


def main() -> None:
    given = _parse()
    output = Output(given.output)
    match given.part:
        case "limits":
            _limits(given, output)
        case "write":
            device, dtype = torch.device(given.device), getattr(torch, given.dtype)
            write_random_model(given.directory, given.model, dtype, device)
            output.write(directory=str(given.directory))
        case "measure":
            _measure(given, output)


def _limits(given: argparse.Namespace, output: Output) -> None:
    device = torch.device(given.device)
    output.write(environment=_environment(device))
    # On a CPU the scripts are only tried, so that one small product is enough.
    sizes = (512,) if device.type == "cpu" else None
    output.write(limits=asdict(measure_limits(device, getattr(torch, given.dtype), sizes)))


def _environment(device: torch.device) -> dict[str, Any]:
    import numba
    import transformers

    values: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numba": numba.__version__,
        "device": platform.processor() or platform.machine(),
    }
    if device.type == "cuda":
        import triton

        properties = torch.cuda.get_device_properties(device)
        values |= {
            "triton": triton.__version__,
            "cuda": torch.version.cuda,
            "device": properties.name,
            "device_memory_bytes": properties.total_memory,
            "num_multiprocessors": properties.multi_processor_count,
        }
    return values


def _measure(given: argparse.Namespace, output: Output) -> None:
    plan = Plan(**json.loads(given.plan))
    limits = MachineLimits(**json.loads(given.limits))
    config = read_hf_config(json.loads((given.directory / "config.json").read_text()))
    began = time.perf_counter()
    peer = _load(given, plan)
    output.write(load_s=time.perf_counter() - began, settings=peer.settings, decode=[])
    itemsize = getattr(torch, given.dtype).itemsize
    source = random.Random(0)
    for size in plan.batch_sizes:
        step_s = _step_s(peer, plan, size, source, config.vocab_size)
        context = plan.input_len + plan.output_len / 2
        cost = step_cost(config, num_parameters(config), itemsize, size, context)
        figures = {
            "batch_size": size,
            "step_s": step_s,
            "tokens_per_s": size / step_s,
            "least_step_s": cost.least_s(limits),
            "bound_by": cost.bound_by(limits),
            "share_of_limit": cost.least_s(limits) / step_s,
        }
        output.write(decode=[*output.values["decode"], figures])
    output.write(throughput=_throughput(peer, plan, source, config, itemsize, limits))
    if given.device == "cuda":
        output.write(peak_memory_bytes=torch.cuda.max_memory_allocated())


def _load(given: argparse.Namespace, plan: Plan) -> Peer:
    if given.peer == "transformers":
        return Transformers(given.directory, given.device, given.dtype, plan.peer_batch_size)
    largest = max(*plan.batch_sizes, plan.num_requests)
    return Headrace(
        given.directory,
        given.device,
        given.dtype,
        max_num_seqs=largest,
        max_model_len=plan.input_len + plan.output_len,
        max_num_batched_tokens=max(2048, max(plan.batch_sizes) * plan.input_len),
    )


def _step_s(
    peer: Peer, plan: Plan, batch_size: int, source: random.Random, vocab_size: int
) -> float:
    """Seconds of one decode step: what further tokens cost over one token, by their number."""

    def generate_s(output_len: int) -> float:
        return peer.generate_s(_prompts(source, batch_size, plan, vocab_size), output_len)

    generate_s(plan.output_len)  # warm-up
    steps = []
    for _ in range(plan.num_repeats):
        long_s, short_s = generate_s(plan.output_len), generate_s(1)
        steps.append((long_s - short_s) / (plan.output_len - 1))
    return max(statistics.median(steps), 1e-9)


def _throughput(
    peer: Peer,
    plan: Plan,
    source: random.Random,
    config: DecoderConfig,
    itemsize: int,
    limits: MachineLimits,
) -> dict[str, Any]:
    """All requests at once, prefill included."""
    seconds = peer.generate_s(
        _prompts(source, plan.num_requests, plan, config.vocab_size), plan.output_len
    )
    context = plan.input_len + plan.output_len / 2
    step = step_cost(config, num_parameters(config), itemsize, plan.num_requests, context)
    num_prompt_tokens = plan.num_requests * plan.input_len
    # The output layer computes one row of each prompt.
    body = num_parameters(config) - config.vocab_size * config.hidden_size * (
        1 if config.tie_word_embeddings else 2
    )
    prefill = StepCost(num_bytes=itemsize * body, num_flops=2 * body * num_prompt_tokens)
    least_s = prefill.least_s(limits) + plan.output_len * step.least_s(limits)
    return {
        "num_requests": plan.num_requests,
        "duration_s": seconds,
        "output_tokens_per_s": plan.num_requests * plan.output_len / seconds,
        "least_duration_s": least_s,
        "share_of_limit": least_s / seconds,
    }


def _prompts(source: random.Random, num_prompts: int, plan: Plan, vocab_size: int) -> Prompts:
    """New ones each time, so that no prefix is found in the cache."""
    return [
        [source.randrange(FIRST_TOKEN_ID, vocab_size) for _ in range(plan.input_len)]
        for _ in range(num_prompts)
    ]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("limits", "write", "measure"))
    parser.add_argument("output", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--model")
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--peer", choices=("headrace", "transformers"))
    parser.add_argument("--plan", help="fields of Plan, as JSON")
    parser.add_argument("--limits", help="fields of MachineLimits, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
