"""docs/gateway.md lists all error codes, metrics and limits."""

import inspect
from pathlib import Path

import pytest

from headrace.core.gateway.routes import Limits
from headrace.gateway import errors
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.reporting.metrics import GatewayMetrics
from headrace.gateway.routing.router import Router

PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text()


def codes() -> set[str]:
    """The codes of all error responses."""
    found = set()
    for name, make in inspect.getmembers(errors, inspect.isfunction):
        signature = inspect.signature(make, eval_str=True)
        if name.startswith("_") or signature.return_annotation is not ErrorResponse:
            continue
        made = make(*(parameter.annotation(1) for parameter in signature.parameters.values()))
        found.add(made.code)
    return found


def test_every_error_code_is_documented():
    assert {"unknown_service", "queue_full"} <= codes()
    assert [code for code in sorted(codes()) if f"`{code}`" not in PAGE] == []


def test_every_metric_is_documented():
    text = GatewayMetrics(Router(0.0)).expose("").body.decode()
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE headrace_")]
    assert len(names) > 8
    assert [name for name in names if f"`{name}`" not in PAGE] == []


@pytest.mark.parametrize("limit", Limits.__struct_fields__)
def test_every_limit_is_documented_with_its_default(limit):
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{limit}` |"))
    default = row.split("|")[2].strip()
    number = getattr(Limits(), limit)
    if limit == "max_body_bytes":
        assert default == f"{number // 1024**2} MiB"
    else:
        assert default == ("none" if number is None else f"{number:g}")
