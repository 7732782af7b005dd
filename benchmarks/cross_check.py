"""Checks that ``headrace bench serve``, ``vllm bench serve`` and ``aiperf`` agree.

All three send the same prompts to one server in interleaved rounds. Token totals must be equal in
each round, and the median ratios of median latencies within 5 % of 1, or the exit code is 1. Starts
no server.

    python benchmarks/cross_check.py --base-url http://127.0.0.1:8000 --model smollm2-135m \\
        --tokenizer DIR --vllm /path/to/vllm --aiperf /path/to/aiperf --rounds 6

Serve without a prefix cache (``headrace serve MODEL --no-enable-prefix-caching``), as all
tools of a round send the same prompts. The tools share the machine with the server; with few cores,
use a server that leaves them free, such as ``python -m headrace.testing.servers.mock_server
--tokens-per-s 100 --first-token-s 0.05``.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headrace.bench.figures.pairing import bootstrap_median, turn_order
from headrace.bench.results.machine import describe_machine, describe_versions

WITHIN = 0.05
WORDS = ("time", "water", "house", "river", "stone", "light", "sound", "tree", "green", "road")


@dataclass(frozen=True)
class Setting:
    """The workload of every tool."""

    base_url: str
    model: str
    tokenizer: str | None
    num_prompts: int
    input_words: int
    output_len: int
    concurrency: int
    num_warm_ups: int


@dataclass(frozen=True)
class ToolFigures:
    """A tool's figures of one run; times in milliseconds, medians over requests."""

    num_prompt_tokens: int
    num_output_tokens: int
    ttft_ms: float
    tpot_ms: float
    latency_ms: float
    output_tokens_per_s: float


COMPARED = {
    "latency_ms": "latency, median",
    "ttft_ms": "TTFT, median",
    "tpot_ms": "TPOT, median",
    "output_tokens_per_s": "output tokens/s",
}

Tool = Callable[[Setting, Sequence[str], Path], ToolFigures]
"""Given the prompts and an empty folder."""


def main() -> int:
    arguments = _parse_arguments()
    setting = Setting(
        base_url=arguments.base_url,
        model=arguments.model,
        tokenizer=arguments.tokenizer,
        num_prompts=arguments.num_prompts,
        input_words=arguments.input_words,
        output_len=arguments.output_len,
        concurrency=arguments.concurrency,
        num_warm_ups=arguments.num_warm_ups,
    )
    tools: dict[str, Tool] = {"headrace": run_headrace}
    if arguments.vllm:
        tools["vllm"] = lambda *given: run_vllm(arguments.vllm, *given)
    if arguments.aiperf:
        tools["aiperf"] = lambda *given: run_aiperf(arguments.aiperf, *given)
    if len(tools) < 2:
        sys.exit("Nothing to compare with: give --vllm PATH, --aiperf PATH or both.")

    rounds = [
        _run_round(tools, setting, index, arguments.seed + index)
        for index in range(arguments.rounds)
    ]
    machine, versions = asdict(describe_machine()), describe_versions()
    if arguments.output:
        document = {
            "command": ["benchmarks/cross_check.py", *sys.argv[1:]],
            "machine": machine,
            "versions": versions,
            "setting": asdict(setting),
            "rounds": [{name: asdict(seen) for name, seen in each.items()} for each in rounds],
        }
        arguments.output.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if _report(rounds) else 1


def run_headrace(setting: Setting, prompts: Sequence[str], folder: Path) -> ToolFigures:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    result_path = folder / "result.json"
    _run(
        [
            *(sys.executable, "-m", "headrace", "bench", "serve"),
            *("--base-url", setting.base_url, "--model", setting.model),
            *("--dataset", "prompts", "--dataset-path", str(path)),
            *("--output-len", str(setting.output_len), "--ignore-eos"),
            *("--concurrency", str(setting.concurrency)),
            *("--num-warm-ups", str(setting.num_warm_ups)),
            *("--extra-body", '{"temperature": 0}', "--output", str(result_path)),
        ],
        folder,
    )
    figures = json.loads(result_path.read_text())["runs"][0]["figures"]
    return ToolFigures(
        num_prompt_tokens=figures["num_prompt_tokens"],
        num_output_tokens=figures["num_output_tokens"],
        ttft_ms=figures["ttft_s"]["p50"] * 1000,
        tpot_ms=figures["tpot_s"]["p50"] * 1000,
        latency_ms=figures["latency_s"]["p50"] * 1000,
        output_tokens_per_s=figures["output_tokens_per_s"],
    )


def run_vllm(vllm: str, setting: Setting, prompts: Sequence[str], folder: Path) -> ToolFigures:
    """Its ShareGPT reader uses the prompts unchanged and needs no further packages."""
    path = folder / "prompts.json"
    path.write_text(
        json.dumps(
            [
                {
                    "id": str(index),
                    "conversations": [
                        {"from": "human", "value": prompt},
                        {"from": "gpt", "value": prompt},
                    ],
                }
                for index, prompt in enumerate(prompts)
            ]
        )
    )
    _run(
        [
            *(vllm, "bench", "serve", "--backend", "openai", "--endpoint", "/v1/completions"),
            *("--base-url", setting.base_url, "--model", setting.model),
            *("--tokenizer", setting.tokenizer or setting.model),
            *("--dataset-name", "sharegpt", "--dataset-path", str(path), "--disable-shuffle"),
            *("--sharegpt-output-len", str(setting.output_len), "--ignore-eos"),
            *("--num-prompts", str(setting.num_prompts)),
            *("--max-concurrency", str(setting.concurrency)),
            *("--num-warmups", str(setting.num_warm_ups), "--temperature", "0"),
            *("--percentile-metrics", "ttft,tpot,itl,e2el"),
            *("--save-result", "--result-dir", str(folder), "--result-filename", "result.json"),
        ],
        folder,
        HF_HUB_OFFLINE="1",
    )
    result = json.loads((folder / "result.json").read_text())
    return ToolFigures(
        num_prompt_tokens=result["total_input_tokens"],
        num_output_tokens=result["total_output_tokens"],
        ttft_ms=result["median_ttft_ms"],
        tpot_ms=result["median_tpot_ms"],
        latency_ms=result["median_e2el_ms"],
        output_tokens_per_s=result["output_throughput"],
    )


def run_aiperf(aiperf: str, setting: Setting, prompts: Sequence[str], folder: Path) -> ToolFigures:
    """Its "inter-token latency" is our TPOT: (latency - TTFT) / (tokens - 1)."""
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps({"text": prompt}) + "\n" for prompt in prompts))
    extra = {"max_tokens": setting.output_len, "ignore_eos": True, "temperature": 0}
    _run(
        [
            *(aiperf, "profile", "--url", setting.base_url, "--model", setting.model),
            *("--tokenizer", setting.tokenizer or setting.model, "--use-server-token-count"),
            *("--endpoint-type", "completions", "--streaming"),
            *("--input-file", str(path), "--custom-dataset-type", "single_turn"),
            *("--dataset-sampling-strategy", "sequential", "--extra-inputs", json.dumps(extra)),
            *("--request-count", str(setting.num_prompts)),
            *("--concurrency", str(setting.concurrency)),
            *("--warmup-request-count", str(max(1, setting.num_warm_ups))),
            *("--artifact-dir", str(folder / "artifacts"), "--ui", "none"),
            *("--export-level", "summary"),
        ],
        folder,
    )
    result = json.loads((folder / "artifacts" / "profile_export_aiperf.json").read_text())
    return ToolFigures(
        num_prompt_tokens=round(result["usage_prompt_tokens"]["sum"]),
        num_output_tokens=round(result["usage_completion_tokens"]["sum"]),
        ttft_ms=result["time_to_first_token"]["p50"],
        tpot_ms=result["inter_token_latency"]["p50"],
        latency_ms=result["request_latency"]["p50"],
        output_tokens_per_s=result["output_token_throughput"]["avg"],
    )


def _run_round(
    tools: dict[str, Tool], setting: Setting, index: int, seed: int
) -> dict[str, ToolFigures]:
    source = random.Random(seed)
    prompts = [
        " ".join(source.choices(WORDS, k=setting.input_words)) for _ in range(setting.num_prompts)
    ]
    seen: dict[str, ToolFigures] = {}
    for name in turn_order(list(tools), index):
        print(f"round {index + 1}: {name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            seen[name] = tools[name](setting, prompts, Path(folder))
    return {name: seen[name] for name in tools}


def _report(rounds: Sequence[dict[str, ToolFigures]]) -> bool:
    """Print the tables; whether everything agrees."""
    ours, *others = rounds[0]
    is_equal = True
    print("\ntokens in, out of each round:")
    for index, each in enumerate(rounds):
        totals = {
            name: (seen.num_prompt_tokens, seen.num_output_tokens) for name, seen in each.items()
        }
        same = len(set(totals.values())) == 1
        is_equal &= same
        shown = "  ".join(f"{name} {total[0]}, {total[1]}" for name, total in totals.items())
        print(f"  {index + 1}: {shown}  {'equal' if same else 'DIFFERENT'}")
    is_close = True
    for other in others:
        print(f"\n{ours} / {other}, ratio of medians within each round:")
        for name, label in COMPARED.items():
            ratios = [getattr(each[ours], name) / getattr(each[other], name) for each in rounds]
            median = statistics.median(ratios)
            interval = bootstrap_median(ratios)
            spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
            shown = "" if interval is None else f", 95 % {interval[0]:.3f} to {interval[1]:.3f}"
            close = abs(median - 1) <= WITHIN
            is_close &= close or name == "output_tokens_per_s"
            verdict = f"within {WITHIN:.0%}" if close else f"NOT within {WITHIN:.0%}"
            print(f"  {label:16} {median:.3f}  ({spread}{shown})  {verdict}")
    return is_equal and is_close


def _run(command: Sequence[str], folder: Path, **environment: str) -> None:
    log = folder / "output.log"
    with log.open("w") as stream:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            check=False,
        )
    if done.returncode != 0:
        sys.exit(f"{command[0]} ended with {done.returncode}:\n{log.read_text()[-4000:]}")


def _parse_arguments() -> Any:
    parser = argparse.ArgumentParser(
        description="Check headrace bench serve against vllm bench serve and aiperf."
    )
    parser.add_argument("--base-url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", help="folder of the tokenizer, which the peers require")
    parser.add_argument("--vllm", help="path of the vllm command")
    parser.add_argument("--aiperf", help="path of the aiperf command")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--num-prompts", type=int, default=64)
    parser.add_argument("--input-words", type=int, default=64)
    parser.add_argument("--output-len", type=int, default=64)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--num-warm-ups", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write every round to this JSON file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
