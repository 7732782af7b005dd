"""What structured output costs: throughput of a batch with grammars, over the same batch without.

One engine in this process, interleaved pairs of runs of the same prompts and number of output
tokens. Three cases: a JSON schema whose strings are free text, so that output goes on until
max_tokens; a regular expression of words; and both in one half of the batch.

    python benchmarks/structured_outputs.py --pairs 6 --batch 16

Prints the median ratio of output tokens per second, and of output tokens per second of processor
time, which other processes disturb less; their ranges, and with six pairs or more the 95 % interval
by bootstrap.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from headrace import LLM, SamplingParams
from headrace.bench.figures.pairing import bootstrap_median, turn_order
from headrace.bench.results.machine import describe_machine
from headrace.core.generation.grammar import Grammar

SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 40},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 8},
        "body": {"type": "string", "minLength": 2000},
        "rating": {"type": "number"},
    },
    "required": ["title", "tags", "body", "rating"],
    "additionalProperties": False,
}
JSON = Grammar.json_schema(SCHEMA)
WORDS = Grammar.regex(r"([A-Za-z]+[ ,.]){400,}")


@dataclass(frozen=True)
class Options:
    model: str
    num_pairs: int
    batch_size: int
    max_tokens: int
    output: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    llm = LLM(options.model, max_model_len=1024)
    cases: dict[str, list[Grammar | None]] = {
        "JSON schema": [JSON],
        "regular expression": [WORDS],
        "half of the batch": [JSON, None, WORDS, None],
    }
    free: list[Grammar | None] = [None]
    for grammars in (*cases.values(), free):
        _tokens_per_s(llm, options, grammars)  # compiles, and warms up
    results: dict[str, list[float]] = {}
    for name, grammars in cases.items():
        for pair in range(options.num_pairs):
            rates = {}
            for turn in turn_order(("with", "without"), pair):
                each = grammars if turn == "with" else free
                rates[turn] = _tokens_per_s(llm, options, each)
            with_masks, without = rates["with"], rates["without"]
            results.setdefault(name, []).append(with_masks.by_clock / without.by_clock)
            by_processor = with_masks.by_processor / without.by_processor
            results.setdefault(f"{name}, processor time", []).append(by_processor)
    _report(options, results)
    return 0


@dataclass(frozen=True)
class TokensPerSecond:
    by_clock: float
    by_processor: float


def _tokens_per_s(
    llm: LLM, options: Options, grammars: Sequence[Grammar | None]
) -> TokensPerSecond:
    prompts = [f"Text number {number}, about rivers: " for number in range(options.batch_size)]
    params = [
        SamplingParams(
            max_tokens=options.max_tokens,
            temperature=0.0,
            ignore_eos=True,
            grammar=grammars[number % len(grammars)],
        )
        for number in range(options.batch_size)
    ]
    began, began_processor = time.perf_counter(), time.process_time()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    seconds, processor_s = time.perf_counter() - began, time.process_time() - began_processor
    num_tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    return TokensPerSecond(num_tokens / seconds, num_tokens / processor_s)


def _report(options: Options, results: dict[str, list[float]]) -> None:
    table = Table("grammar", "pairs", "throughput, with / without", "range", "95 % interval")
    for name, ratios in results.items():
        interval = bootstrap_median(ratios)
        table.add_row(
            name,
            str(len(ratios)),
            f"{median(ratios):.3f}",
            f"{min(ratios):.3f} to {max(ratios):.3f}",
            "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
        )
    Console().print(table)
    if options.output is not None:
        record = {
            "machine": describe_machine(),
            "batch_size": options.batch_size,
            "ratios": results,
        }
        options.output.write_text(json.dumps(record, indent=2, default=str))


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    return Options(given.model, given.pairs, given.batch, given.max_tokens, given.output)


if __name__ == "__main__":
    raise SystemExit(main())
