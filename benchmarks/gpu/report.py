"""Renders a session's result as plain text tables."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

Result = Mapping[str, Any]


def as_text(result: Result) -> str:
    """The whole result, or what there is of it yet."""
    stream = io.StringIO()
    console = Console(file=stream, width=110, highlight=False, markup=False)
    for line in _head(result):
        console.print(line)
    for model in result["models"]:
        console.print(f"\n{model['name']} (random weights)")
        console.print(_table(model, result))
    for where, error in _errors(result):
        console.print(f"\n{where} failed: {error}")
    return stream.getvalue()


def _head(result: Result) -> Iterator[str]:
    environment = result.get("environment", {})
    versions = ", ".join(
        f"{name} {environment[name]}"
        for name in ("python", "torch", "triton", "transformers", "cuda")
        if name in environment
    )
    yield f"Headrace {result['headrace']} on {environment.get('device', 'an unknown device')}"
    yield f"{versions}; {result['dtype']}; {result['started_at']}; {result['duration_s']:.0f} s"
    tests = result.get("tests", {})
    counts = ", ".join(
        f"{tests[name]} {name}" for name in ("passed", "failed", "skipped") if name in tests
    )
    yield f"tests/gpu: {counts or 'no counts'}"
    if "limits" in result:
        limits = result["limits"]
        yield (
            f"measured limits: {limits['bytes_per_s'] / 1e9:,.0f} GB/s, "
            f"{limits['flops_per_s'] / 1e12:,.2f} TFLOP/s"
        )


def _table(model: Result, result: Result) -> Table:
    plan = result["plan"]
    ours, theirs = (model["peers"].get(name, {}) for name in ("headrace", "transformers"))
    table = Table(box=None, pad_edge=False)
    table.add_column("measurement")
    for header in ("Headrace", "step", "of limit", "transformers", "step", "ratio"):
        table.add_column(header, justify="right")
    decode = {name: _by_size(peer) for name, peer in (("ours", ours), ("theirs", theirs))}
    for size in plan["batch_sizes"]:
        left, right = decode["ours"].get(size), decode["theirs"].get(size)
        table.add_row(
            f"decode, batch of {size}",
            _rate(left, "tokens_per_s"),
            _step(left),
            _share(left),
            _rate(right, "tokens_per_s"),
            _step(right),
            _ratio(left, right, "tokens_per_s"),
        )
    left, right = ours.get("throughput"), theirs.get("throughput")
    table.add_row(
        f"{plan['num_requests']} requests, {plan['input_len']} in, {plan['output_len']} out",
        _rate(left, "output_tokens_per_s"),
        "",
        _share(left),
        _rate(right, "output_tokens_per_s"),
        "",
        _ratio(left, right, "output_tokens_per_s"),
    )
    return table


def _by_size(peer: Result) -> dict[int, Result]:
    return {figures["batch_size"]: figures for figures in peer.get("decode", [])}


def _rate(figures: Result | None, name: str) -> str:
    return "-" if figures is None else f"{figures[name]:,.0f} tokens/s"


def _step(figures: Result | None) -> str:
    return "-" if figures is None else f"{figures['step_s'] * 1e3:.2f} ms"


def _share(figures: Result | None) -> str:
    return "-" if figures is None else f"{figures['share_of_limit']:.0%}"


def _ratio(left: Result | None, right: Result | None, name: str) -> str:
    return "-" if left is None or right is None else f"{left[name] / right[name]:.2f}"


def _errors(result: Result) -> Iterator[tuple[str, str]]:
    named = [("the session", result), ("tests/gpu", result.get("tests", {}))]
    for model in result["models"]:
        named.append((model["name"], model))
        named += [(f"{model['name']}, {peer}", part) for peer, part in model["peers"].items()]
    for where, part in named:
        if part.get("error"):
            yield where, part["error"]
