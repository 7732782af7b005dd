"""The one product that everything here is made of: a few rows times two vectors of columns.

    c[i, 0:32) (+)= sum over k of x[i, k] * w[k, 0:32)          for up to eight rows i

All accumulators stay in registers. A row's sum is always taken in the same order, so a row's
result does not depend on the rows beside it: what a request gets does not depend on its batch.

Weights lie in vectors of sixteen columns. For float32 there is one vector for each k; for
bfloat16 one for each pair of k, the two values of a column side by side, which is what
AVX512-BF16's dot product wants. Other processors widen the pair and use two multiply-adds.
"""

from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils

from headrace.models.simd import vectors
from headrace.models.simd.jit import intrinsic, subroutine
from headrace.models.simd.vectors import VECTOR_BYTES, emit_fma, emit_splat, is_bf16

MAX_ROWS = 8

_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_VF32 = ir.VectorType(_F32, vectors.LANES)
_VI32 = ir.VectorType(_I32, vectors.LANES)


class _BFloat(ir.types.Type):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite does not name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def has_bf16_dot() -> bool:
    """Whether the processor multiplies pairs of bfloat16 in hardware (AVX512-BF16)."""
    return "avx512bf16" in _features()


def has_wide_registers() -> bool:
    """Whether sixteen float32 fit one register, of which there are 32 (AVX-512)."""
    return "avx512f" in _features()


@cache
def _features() -> frozenset[str]:
    """What kernels may use: this processor's features, or those that NUMBA_CPU_NAME and
    NUMBA_CPU_FEATURES name instead."""
    if numba.config.CPU_NAME:
        named = (numba.config.CPU_FEATURES or "").split(",")
        return frozenset(feature[1:] for feature in named if feature.startswith("+"))
    host = llvm.get_host_cpu_features()
    return frozenset(name for name, present in host.items() if present)


def num_tile_rows() -> int:
    """Most rows whose accumulators fit the processor's registers."""
    return MAX_ROWS if has_wide_registers() else 2


@intrinsic
def max_rows(typing: Any) -> Any:
    """num_tile_rows(), as a constant of the compiled code."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _I64(num_tile_rows())

    return types.int64(), codegen


@subroutine
def multiply_tile(
    tag: Any,
    rows: int,
    accumulate: bool,
    x: int,
    x_stride: int,
    w0: int,
    w1: int,
    w_stride: int,
    num_k: int,
    c: int,
    c_stride: int,
) -> None:
    """c[0:rows, 0:32) (+)= x @ w.

    rows: 1 to 8, more than max_rows() of them slowly. Raises ValueError, with nothing written,
    for others.
    accumulate: whether c is read first, or only written.
    x: address of the rows' first elements, x_stride bytes apart.
    w0, w1: addresses of two vectors of columns, w_stride bytes from one k to the next.
    num_k: elements to sum over (float32), or pairs of them (bfloat16).
    c: address of float32 results, rows c_stride bytes apart.
    """
    if rows < 1 or rows > MAX_ROWS:
        raise ValueError("a tile has 1 to 8 rows")
    _multiply_tile(tag, rows, accumulate, x, x_stride, w0, w1, w_stride, num_k, c, c_stride)


@intrinsic
def _multiply_tile(
    typing: Any,
    tag: Any,
    rows: Any,
    accumulate: Any,
    x: Any,
    x_stride: Any,
    w0: Any,
    w1: Any,
    w_stride: Any,
    num_k: Any,
    c: Any,
    c_stride: Any,
) -> Any:
    """See multiply_tile."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        num_rows = args[1]
        done = builder.append_basic_block("tile.done")
        switch = builder.switch(num_rows, done)
        for case in range(1, MAX_ROWS + 1):
            block = builder.append_basic_block(f"tile.rows{case}")
            switch.add_case(_I64(case), block)
            with builder.goto_block(block):
                _emit_tile(builder, is_bf16(tag), case, args[2:])
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(tag, types.int64, types.boolean, *[types.int64] * 8), codegen


def _emit_tile(builder: Any, bf16: bool, num_rows: int, args: Any) -> None:
    accumulate, x, x_stride, w0, w1, w_stride, num_k, c, c_stride = args
    cells = [cgutils.alloca_once(builder, _VF32) for _ in range(2 * num_rows)]
    outs = []
    for i in range(num_rows):
        out = builder.add(c, builder.mul(c_stride, _I64(i)))
        outs += [out, builder.add(out, _I64(VECTOR_BYTES))]
    with builder.if_else(accumulate) as (then, otherwise):
        with then:
            for cell, out in zip(cells, outs, strict=True):
                builder.store(vectors.emit_load(builder, out), cell)
        with otherwise:
            for cell in cells:
                builder.store(vectors.emit_constant(0.0), cell)
    row_bases = [builder.add(x, builder.mul(x_stride, _I64(i))) for i in range(num_rows)]

    with cgutils.for_range(builder, num_k, intp=_I64) as loop:
        w_offset = builder.mul(loop.index, w_stride)
        x_offset = builder.mul(loop.index, _I64(4))  # a float32, or a pair of bfloat16
        columns = [
            vectors.emit_load(builder, builder.add(w0, w_offset)),
            vectors.emit_load(builder, builder.add(w1, w_offset)),
        ]
        for i, base in enumerate(row_bases):
            pointer = builder.inttoptr(builder.add(base, x_offset), _I32.as_pointer())
            value = emit_splat(builder, builder.load(pointer, align=2))  # <16 x i32>
            for j, column in enumerate(columns):
                cell = cells[2 * i + j]
                step = _emit_pair_dot if bf16 else _emit_multiply
                builder.store(step(builder, builder.load(cell), value, column), cell)
    for cell, out in zip(cells, outs, strict=True):
        vectors.emit_store(builder, out, builder.load(cell))


def _emit_multiply(builder: Any, acc: Any, x: Any, w: Any) -> Any:
    return emit_fma(builder, builder.bitcast(x, _VF32), w, acc)


def _emit_pair_dot(builder: Any, acc: Any, x: Any, w: Any) -> Any:
    """acc + x.even * w.even + x.odd * w.odd, each lane a pair of bfloat16."""
    if has_bf16_dot():
        pairs = ir.VectorType(_BFloat(), 2 * vectors.LANES)
        fn_type = ir.FunctionType(_VF32, [_VF32, pairs, pairs])
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        dot = cgutils.get_or_insert_function(builder.module, fn_type, name)
        return builder.call(dot, [acc, builder.bitcast(x, pairs), builder.bitcast(w, pairs)])
    high = ir.Constant(_VI32, [-65536] * vectors.LANES)
    shift = ir.Constant(_VI32, [16] * vectors.LANES)
    bits = builder.bitcast(w, _VI32)
    even_x = builder.bitcast(builder.shl(x, shift), _VF32)
    odd_x = builder.bitcast(builder.and_(x, high), _VF32)
    even_w = builder.bitcast(builder.shl(bits, shift), _VF32)
    odd_w = builder.bitcast(builder.and_(bits, high), _VF32)
    return emit_fma(builder, odd_x, odd_w, emit_fma(builder, even_x, even_w, acc))
