"""Words that threads share: atomic loads, stores and counters, and ways to wait, for Numba code.

All of them are sequentially consistent: every thread sees them in one order, and what a thread
wrote before one of them is seen by a thread that reads the word after it.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from headrace.models.simd.jit import intrinsic

_I8 = ir.IntType(8)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)


@intrinsic
def atomic_load(typing: Any, address: Any) -> Any:
    """The int64 at the address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], _I64.as_pointer())
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(types.int64), codegen


@intrinsic
def atomic_store(typing: Any, address: Any, value: Any) -> Any:
    """Write the int64 at the address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], _I64.as_pointer())
        builder.store_atomic(args[1], pointer, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def fetch_add(typing: Any, address: Any, value: Any) -> Any:
    """Add to the int64 at the address in one atomic step; gives what it was before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], _I64.as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def sched_yield(typing: Any) -> Any:
    """Let another thread run on this processor, if one is ready to."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        fn_type = ir.FunctionType(_I32, [])
        builder.call(cgutils.get_or_insert_function(builder.module, fn_type, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def usleep(typing: Any, microseconds: Any) -> Any:
    """Sleep for this long or a little longer."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        fn_type = ir.FunctionType(_I32, [_I32])
        sleep = cgutils.get_or_insert_function(builder.module, fn_type, "usleep")
        builder.call(sleep, [builder.trunc(args[0], _I32)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def call_kernel(typing: Any, function: Any, arguments: Any, task: Any) -> Any:
    """Call the compiled Kernel at the address; gives whether it did its work."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        fn_type = ir.FunctionType(_I8, [_I64, _I64])
        done = builder.call(builder.inttoptr(args[0], fn_type.as_pointer()), args[1:])
        return builder.icmp_unsigned("!=", done, _I8(0))

    return types.boolean(types.int64, types.int64, types.int64), codegen
