"""Vectors of sixteen float32 as values in Numba code, with the operations that kernels use.

LLVM splits them where the processor's registers are narrower (two for AVX2, four for NEON).
Addresses are int64; all loads may be unaligned.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model

from headrace.core.errors import UnsupportedModelError
from headrace.models.simd.jit import intrinsic, subroutine

LANES = 16
VECTOR_BYTES = 64
"""Bytes of one vector of float32; a block of bf16 pairs has the same size."""

_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_I16 = ir.IntType(16)
_VF32 = ir.VectorType(_F32, LANES)
_VI32 = ir.VectorType(_I32, LANES)
_VI16 = ir.VectorType(_I16, LANES)

Element = np.uint16 | np.float32
BF16 = np.uint16(0)
"""Tag: the addresses point to bfloat16."""
FP32 = np.float32(0)
"""Tag: the addresses point to float32."""
_TAGS: dict[torch.dtype, Element] = {torch.bfloat16: BF16, torch.float32: FP32}


def element_tag(dtype: torch.dtype) -> Element:
    """The tag of a PyTorch type.

    Raises UnsupportedModelError for types that the kernels do not compute.
    """
    if dtype not in _TAGS:
        raise UnsupportedModelError(f"The CPU kernels do not support {dtype}.")
    return _TAGS[dtype]


class VectorType(types.Type):  # type: ignore[misc]
    """Numba's type of sixteen float32 in a register."""

    def __init__(self) -> None:
        super().__init__(name="float32x16")


vector = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, frontend_type: Any) -> None:
        super().__init__(manager, frontend_type, _VF32)


def is_bf16(tag: Any) -> bool:
    """Whether a Numba type is that of the BF16 tag."""
    return bool(tag == types.uint16)


# --- pieces of LLVM IR, shared by the intrinsics here and in matmul_tile.py


def emit_splat(builder: Any, scalar: Any) -> Any:
    """<16 x type of scalar>, the scalar in every lane."""
    wide = ir.VectorType(scalar.type, LANES)
    first = builder.insert_element(ir.Constant(wide, ir.Undefined), scalar, _I32(0))
    zeros = ir.Constant(_VI32, [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(wide, ir.Undefined), zeros)


def emit_constant(value: float) -> Any:
    return ir.Constant(_VF32, [value] * LANES)


def emit_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c in one rounding."""
    name = "llvm.fma.v16f32"
    fn_type = ir.FunctionType(_VF32, [_VF32] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, fn_type, name), [a, b, c])


def emit_load(builder: Any, address: Any) -> Any:
    return builder.load(builder.inttoptr(address, _VF32.as_pointer()), align=2)


def emit_store(builder: Any, address: Any, value: Any) -> None:
    builder.store(value, builder.inttoptr(address, _VF32.as_pointer()), align=2)


def _emit_unary(builder: Any, name: str, value: Any) -> Any:
    fn_type = ir.FunctionType(_VF32, [_VF32])
    return builder.call(cgutils.get_or_insert_function(builder.module, fn_type, name), [value])


def _emit_binary(builder: Any, name: str, a: Any, b: Any) -> Any:
    fn_type = ir.FunctionType(_VF32, [_VF32, _VF32])
    return builder.call(cgutils.get_or_insert_function(builder.module, fn_type, name), [a, b])


def emit_exp(builder: Any, x: Any) -> Any:
    """e**x within 2 units in the last place, 0 below -87; the polynomial is Cephes' expf."""
    x = _emit_binary(builder, "llvm.minnum.v16f32", x, emit_constant(88.0))
    floor = builder.fcmp_ordered("<", x, emit_constant(-87.0))
    n = _emit_unary(builder, "llvm.rint.v16f32", builder.fmul(x, emit_constant(1.4426950408889634)))
    x = emit_fma(builder, n, emit_constant(-0.693359375), x)
    x = emit_fma(builder, n, emit_constant(2.12194440e-4), x)
    poly = emit_constant(1.9875691500e-4)
    for coefficient in (
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        5.0000001201e-1,
    ):
        poly = emit_fma(builder, poly, x, emit_constant(coefficient))
    squared = builder.fmul(x, x)
    result = builder.fadd(emit_fma(builder, poly, squared, x), emit_constant(1.0))
    exponent = builder.add(builder.fptosi(n, _VI32), ir.Constant(_VI32, [127] * LANES))
    power = builder.bitcast(builder.shl(exponent, ir.Constant(_VI32, [23] * LANES)), _VF32)
    return builder.select(floor, emit_constant(0.0), builder.fmul(result, power))


def emit_round_bf16(builder: Any, value: Any) -> Any:
    """<16 x i16>: the nearest bfloat16, ties to even. Values must not be NaN."""
    bits = builder.bitcast(value, _VI32)
    shift = ir.Constant(_VI32, [16] * LANES)
    odd = builder.and_(builder.lshr(bits, shift), ir.Constant(_VI32, [1] * LANES))
    bits = builder.add(builder.add(bits, odd), ir.Constant(_VI32, [0x7FFF] * LANES))
    return builder.trunc(builder.lshr(bits, shift), _VI16)


# --- intrinsics


@intrinsic
def splat(typing: Any, value: Any) -> Any:
    """The float in all sixteen lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        scalar = context.cast(builder, args[0], signature.args[0], types.float32)
        return emit_splat(builder, scalar)

    return vector(value), codegen


@intrinsic
def load(typing: Any, address: Any) -> Any:
    """Sixteen float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return emit_load(builder, args[0])

    return vector(types.int64), codegen


@intrinsic
def store(typing: Any, address: Any, value: Any) -> Any:
    """Sixteen float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit_store(builder, args[0], args[1])
        return context.get_dummy_value()

    return types.void(types.int64, vector), codegen


@intrinsic
def store_element(typing: Any, tag: Any, address: Any, value: Any) -> Any:
    """Sixteen consecutive elements of the tag's type, rounded to nearest even."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if is_bf16(signature.args[0]):
            rounded = emit_round_bf16(builder, args[2])
            builder.store(rounded, builder.inttoptr(args[1], _VI16.as_pointer()), align=2)
        else:
            emit_store(builder, args[1], args[2])
        return context.get_dummy_value()

    return types.void(tag, types.int64, vector), codegen


@intrinsic
def multiply_add(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return emit_fma(builder, *args)

    return vector(vector, vector, vector), codegen


@intrinsic
def multiply(typing: Any, a: Any, b: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args)

    return vector(vector, vector), codegen


@intrinsic
def add(typing: Any, a: Any, b: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args)

    return vector(vector, vector), codegen


@intrinsic
def divide(typing: Any, a: Any, b: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fdiv(*args)

    return vector(vector, vector), codegen


@intrinsic
def maximum(typing: Any, a: Any, b: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit_binary(builder, "llvm.maxnum.v16f32", *args)

    return vector(vector, vector), codegen


@intrinsic
def minimum(typing: Any, a: Any, b: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit_binary(builder, "llvm.minnum.v16f32", *args)

    return vector(vector, vector), codegen


@intrinsic
def exp(typing: Any, x: Any) -> Any:
    """e**x, 0 where x is below -87."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return emit_exp(builder, args[0])

    return vector(vector), codegen


@intrinsic
def sum_lanes(typing: Any, x: Any) -> Any:
    """The sum of the lanes, added in a fixed tree."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        fn_type = ir.FunctionType(_F32, [_F32, _VF32])
        name = "llvm.vector.reduce.fadd.v16f32"
        reduce = cgutils.get_or_insert_function(builder.module, fn_type, name)
        return builder.call(reduce, [ir.Constant(_F32, -0.0), args[0]], fastmath=("reassoc",))

    return types.float32(vector), codegen


@intrinsic
def max_lanes(typing: Any, x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit_reduce_max(builder, args[0])

    return types.float32(vector), codegen


def _emit_reduce_max(builder: Any, value: Any) -> Any:
    fn_type = ir.FunctionType(_F32, [_VF32])
    name = "llvm.vector.reduce.fmax.v16f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, fn_type, name), [value])


# --- activation functions

ACTIVATIONS: Mapping[str, int] = {
    "silu": 0,
    "gelu_tanh": 1,
    "quick_gelu": 2,
    "relu": 3,
    "relu2": 4,
    "sigmoid": 5,
}
"""Those that ``activated`` computes."""
GATES: Mapping[str, int] = {**ACTIVATIONS, "clamped_swiglu": 6}
"""Those that ``gated`` computes."""


@subroutine
def activated(activation: int, x: Any) -> Any:
    """x * sigmoid(f(x)), a power of max(x, 0), or sigmoid(x); see ACTIVATIONS."""
    if activation == 3 or activation == 4:
        positive = maximum(x, splat(0.0))
        if activation == 4:
            return multiply(positive, positive)
        return positive
    exponent = x
    if activation == 1:  # GELU's approximation by tanh (Hendrycks and Gimpel, 2016)
        cubic = multiply(multiply(x, x), splat(0.044715))
        exponent = multiply(multiply_add(cubic, x, x), splat(1.5957691216057308))
    elif activation == 2:
        exponent = multiply(x, splat(1.702))
    power = exp(multiply(exponent, splat(-1.0)))
    numerator = x
    if activation == 5:
        numerator = splat(1.0)
    return divide(numerator, add(splat(1.0), power))


@subroutine
def gated(activation: int, gate: Any, up: Any) -> Any:
    """activated(gate) * up, or clamped_swiglu; see GATES."""
    if activation == 6:
        limit, negative = splat(7.0), splat(-7.0)
        shifted = add(maximum(minimum(up, limit), negative), splat(1.0))
        return multiply(activated(2, minimum(gate, limit)), shifted)
    return multiply(activated(activation, gate), up)
