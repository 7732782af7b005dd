"""What LoRA adapters cost: throughput of a batch whose requests have adapters, over one without.

One engine in this process, interleaved pairs of runs of the same prompts and number of output
tokens. Adapters of random weights adapt all projections of all layers. Cases: every request has the
same adapter, every second one has it, and the requests are divided among eight adapters.

    python benchmarks/adapters.py --pairs 3 --batch 16 --rank 16

Prints the median ratio of output tokens per second and its range, by wall time and by CPU time of
this process (which counts the time that waiting threads spin), where 1.00 is no cost. On a busy
machine CPU time is the one to read.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from headrace import LLM, LoRARequest, SamplingParams
from headrace.bench.figures.pairing import turn_order
from headrace.bench.results.machine import describe_machine
from headrace.models.loaders.checkpoint import open_checkpoint
from headrace.models.loaders.expected_weights import expected_shapes
from headrace.models.sources.resolve import resolve_model

NUM_ADAPTERS = 8
Adapters = Sequence[LoRARequest | None]


@dataclass(frozen=True)
class Options:
    model: str
    num_pairs: int
    batch_size: int
    rank: int
    prompt_tokens: int
    max_tokens: int
    output: Path | None


@dataclass(frozen=True)
class Rates:
    """Output tokens per second."""

    wall: float
    cpu: float


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    with tempfile.TemporaryDirectory() as directory:
        adapters = _write_adapters(options, Path(directory))
        llm = LLM(
            options.model,
            max_model_len=1024,
            enable_lora=True,
            max_loras=NUM_ADAPTERS,
            max_lora_rank=options.rank,
            enable_prefix_caching=False,
        )
        cases: dict[str, Adapters] = {
            "one adapter": adapters[:1],
            "one adapter, half of the batch": [None, adapters[0]],
            "eight adapters": adapters,
        }
        plain: Adapters = [None]
        for each in (*cases.values(), plain):
            _run(llm, options, each)  # loads, compiles, and warms up
        results = {}
        for name, case in cases.items():
            pairs = []
            for pair in range(options.num_pairs):
                rates = {}
                for turn in turn_order(("with", "without"), pair):
                    rates[turn] = _run(llm, options, case if turn == "with" else plain)
                pairs.append(
                    Rates(
                        rates["with"].wall / rates["without"].wall,
                        rates["with"].cpu / rates["without"].cpu,
                    )
                )
            results[name] = pairs
    _report(options, results)
    return 0


def _run(llm: LLM, options: Options, adapters: Adapters) -> Rates:
    prompts = [
        [1 + (number * 31 + place * 7) % 1000 for place in range(options.prompt_tokens)]
        for number in range(options.batch_size)
    ]
    params = SamplingParams(max_tokens=options.max_tokens, temperature=0.0, ignore_eos=True)
    requests = [adapters[number % len(adapters)] for number in range(options.batch_size)]
    began, cpu_began = time.perf_counter(), time.process_time()
    outputs = llm.generate(prompts, params, use_tqdm=False, lora_request=requests)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    num_tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    return Rates(num_tokens / wall, num_tokens / cpu)


def _write_adapters(options: Options, folder: Path) -> list[LoRARequest]:
    """Adapters of the model, which must have Llama's names."""
    config = open_checkpoint(resolve_model(options.model)).config
    requests = []
    for number in range(1, NUM_ADAPTERS + 1):
        generator = torch.Generator().manual_seed(number)
        tensors = {}
        for name, shape in expected_shapes(config):
            if not name.endswith("_proj.weight") or len(shape) != 2:
                continue
            module = "base_model.model." + name.removesuffix(".weight")
            a = torch.randn(options.rank, shape[1], generator=generator)
            b = torch.randn(shape[0], options.rank, generator=generator)
            tensors[f"{module}.lora_A.weight"] = 0.01 * a
            tensors[f"{module}.lora_B.weight"] = 0.01 * b
        path = folder / str(number)
        path.mkdir()
        save_file(tensors, path / "adapter_model.safetensors")
        described = {"peft_type": "LORA", "r": options.rank, "lora_alpha": options.rank}
        (path / "adapter_config.json").write_text(json.dumps(described))
        requests.append(LoRARequest(str(number), number, str(path)))
    return requests


def _report(options: Options, results: dict[str, list[Rates]]) -> None:
    table = Table("requests have", "pairs", "by wall time", "range", "by CPU time", "range")
    for name, pairs in results.items():
        row = [name, str(len(pairs))]
        for ratios in ([each.wall for each in pairs], [each.cpu for each in pairs]):
            row += [f"{median(ratios):.3f}", f"{min(ratios):.3f} to {max(ratios):.3f}"]
        table.add_row(*row)
    Console().print(table)
    if options.output is not None:
        record = {
            "machine": describe_machine(),
            "batch_size": options.batch_size,
            "rank": options.rank,
            "ratios": {
                name: [(each.wall, each.cpu) for each in pairs] for name, pairs in results.items()
            },
        }
        options.output.write_text(json.dumps(record, indent=2, default=str))


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    return Options(
        given.model,
        given.pairs,
        given.batch,
        given.rank,
        given.prompt_tokens,
        given.max_tokens,
        given.output,
    )


if __name__ == "__main__":
    raise SystemExit(main())
