"""Single numbers at addresses: loads and stores for Numba code."""

from typing import Any

from llvmlite import ir
from numba import types

from headrace.models.simd.jit import intrinsic
from headrace.models.simd.vectors import is_bf16

_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_I16 = ir.IntType(16)
_I64 = ir.IntType(64)
_LINE_BYTES = 64


@intrinsic
def load_f32(typing: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], _F32.as_pointer()))

    return types.float32(types.int64), codegen


@intrinsic
def store_f32(typing: Any, address: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], _F32.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), codegen


@intrinsic
def load_i32(typing: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(builder.inttoptr(args[0], _I32.as_pointer()))
        return builder.sext(value, _I64)

    return types.int64(types.int64), codegen


@intrinsic
def load_i64(typing: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], _I64.as_pointer()))

    return types.int64(types.int64), codegen


@intrinsic
def store_i64(typing: Any, address: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], _I64.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def load_one(typing: Any, tag: Any, address: Any) -> Any:
    """One element of the tag's type, as float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not is_bf16(signature.args[0]):
            return builder.load(builder.inttoptr(args[1], _F32.as_pointer()))
        half = builder.load(builder.inttoptr(args[1], _I16.as_pointer()))
        return builder.bitcast(builder.shl(builder.zext(half, _I32), _I32(16)), _F32)

    return types.float32(tag, types.int64), codegen


@intrinsic
def store_one(typing: Any, tag: Any, address: Any, value: Any) -> Any:
    """One element of the tag's type, rounded to nearest even."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not is_bf16(signature.args[0]):
            builder.store(args[2], builder.inttoptr(args[1], _F32.as_pointer()))
            return context.get_dummy_value()
        bits = builder.bitcast(args[2], _I32)
        odd = builder.and_(builder.lshr(bits, _I32(16)), _I32(1))
        bits = builder.add(builder.add(bits, odd), _I32(0x7FFF))
        half = builder.trunc(builder.lshr(bits, _I32(16)), _I16)
        builder.store(half, builder.inttoptr(args[1], _I16.as_pointer()))
        return context.get_dummy_value()

    return types.void(tag, types.int64, types.float32), codegen


@intrinsic
def element_bytes(typing: Any, tag: Any) -> Any:
    """Size of one element of the tag's type."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _I64(2 if is_bf16(signature.args[0]) else 4)

    return types.int64(tag), codegen


@intrinsic
def stack_memory(typing: Any, num_bytes: Any) -> Any:
    """Address of memory for vectors, not initialized, that lasts until the function returns that
    calls this. Not for loops: each call takes more of the stack.

    An array's memory is no substitute: Numba may free it as soon as nothing names the array any
    more, whatever still uses its address.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        memory = builder.alloca(ir.IntType(8), size=args[0])
        memory.align = _LINE_BYTES
        return builder.ptrtoint(memory, _I64)

    return types.int64(types.int64), codegen
