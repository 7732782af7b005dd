"""A kernel's arguments are declared once: what Python packs is what compiled code reads."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from headrace.models.simd.kernel import MAX_ARGUMENTS, check_rows, constructor, kernel_of, read
from headrace.models.simd.scalars import store_i64
from headrace.models.simd.thread_pool import ThreadPool


class Mixed(NamedTuple):
    out: int
    count: int
    is_set: bool
    scale: float
    is_clear: bool
    offset: int


mixed = constructor(Mixed)


@kernel_of(Mixed)
def write_down(arguments: int, task: int) -> bool:
    mixed = read(Mixed, arguments)
    store_i64(mixed.out, mixed.count)
    store_i64(mixed.out + 8, 10 + mixed.is_set)
    store_i64(mixed.out + 16, int(mixed.scale * 4))
    store_i64(mixed.out + 24, 10 + mixed.is_clear)
    store_i64(mixed.out + 32, mixed.offset)
    return True


@pytest.mark.parametrize("count", [0, 7, -(2**63), 2**63 - 1])
def test_compiled_code_reads_what_python_packed(count: int) -> None:
    out = np.zeros(5, np.int64)
    arguments = mixed(
        offset=-3, is_clear=False, scale=0.75, is_set=True, count=count, out=out.ctypes.data
    )
    ThreadPool().run(write_down, 1, arguments)
    assert out.tolist() == [count, 11, 3, 10, -3]


def test_the_constructor_returns_values_in_declaration_order() -> None:
    values = {"offset": 1, "count": 2, "scale": 0.5, "out": 3, "is_set": True, "is_clear": False}
    assert mixed(**values) == Mixed(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "names",
    [
        {"out", "count", "is_set", "scale", "is_clear"},
        {"out", "count", "is_set", "scale", "is_clear", "offset", "more"},
        {"out", "count", "is_set", "scale", "is_clear", "ofset"},
    ],
    ids=["missing", "unknown", "misspelled"],
)
def test_unknown_names_are_errors(names: set[str]) -> None:
    with pytest.raises(TypeError):
        mixed(**dict.fromkeys(names, 1))  # type: ignore[arg-type]


def test_values_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        mixed(1, 2, True, 0.5, False, 3)


class Text(NamedTuple):
    x: int
    name: str


Wide: Any = NamedTuple("Wide", [(f"x{i}", int) for i in range(MAX_ARGUMENTS + 1)])


@pytest.mark.parametrize("kind", [Text, Wide])
def test_unsupported_types_are_refused_at_declaration(kind: Any) -> None:
    with pytest.raises(TypeError, match=kind.__name__):
        constructor(kind)
    with pytest.raises(TypeError, match=kind.__name__):
        kernel_of(kind)(lambda arguments, task: True)


@pytest.mark.parametrize(("num_rows", "stride"), [(0, 0), (1, 0), (1, -8), (2, 64), (9, 65)])
def test_strided_rows_are_accepted(num_rows: int, stride: int) -> None:
    check_rows("x", num_rows, stride, 64)


@pytest.mark.parametrize(
    ("num_rows", "stride", "row_bytes"), [(-1, 64, 64), (1, 4, -4), (2, 63, 64)]
)
def test_negative_sizes_and_overlapping_rows_are_refused(
    num_rows: int, stride: int, row_bytes: int
) -> None:
    with pytest.raises(ValueError, match="x"):
        check_rows("x", num_rows, stride, row_bytes)
