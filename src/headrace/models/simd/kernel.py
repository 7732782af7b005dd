"""Kernels: the compiled functions that a pool's threads call, and their packed arguments.

A kernel's arguments are declared once, as a NamedTuple of int, bool and float. Python packs the
values into memory in the order of the declaration, eight bytes each; compiled code reads them back
as that NamedTuple. No offset is written by hand.
"""

import struct
from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, ParamSpec, TypeVar, get_type_hints

from llvmlite import ir
from numba import types

from headrace.models.simd.jit import callback, intrinsic

MAX_ARGUMENTS = 32
"""Of one kernel."""

_Parameters = ParamSpec("_Parameters")
_Arguments = TypeVar("_Arguments", bound=tuple[float, ...])

_WORD = 8
_I64 = ir.IntType(64)
_FORMATS = {int: "q", bool: "q", float: "d"}
_NUMBA_TYPES = {int: types.int64, bool: types.boolean, float: types.float64}


class Kernel(Generic[_Arguments]):
    """A function (arguments, task) of two int64 that a pool's threads call, compiled when first
    needed.

    ``arguments`` is the address of a packed NamedTuple, ``task`` which part of the work to do. It
    returns True; if it raises, the pool's caller gets a KernelError.
    """

    def __init__(self, kind: type[_Arguments], function: Callable[[int, int], bool]) -> None:
        self.name = function.__name__
        self.pack_into = packer(kind)
        """(memory, offset, *values): write the values of a ``kind``."""
        self._function = function

    @cached_property
    def address(self) -> int:
        """Of the compiled code."""
        self._compiled = callback("boolean(int64, int64)", self._function)
        address: int = self._compiled.address
        return address


def kernel_of(
    kind: type[_Arguments],
) -> Callable[[Callable[[int, int], bool]], Kernel[_Arguments]]:
    """Decorates a Kernel whose arguments are declared by this NamedTuple."""
    return lambda function: Kernel(kind, function)


def constructor(kind: Callable[_Parameters, _Arguments]) -> Callable[_Parameters, _Arguments]:
    """A function that takes a NamedTuple's fields by name and gives their values in its order.

    A call costs a quarter of the class's own. What it gives is a plain tuple, to be packed.
    Missing, unknown and repeated names are errors, as they are to the class.
    """
    names = ", ".join(_field_types(kind))
    build: Callable[_Parameters, _Arguments] = eval(f"lambda *, {names}: ({names},)")
    return build


def packer(kind: Any) -> Callable[..., None]:
    """A function (memory, offset, *values) that writes values where ``read`` finds them."""
    formats = [_FORMATS[field] for field in _field_types(kind).values()]
    return struct.Struct("=" + "".join(formats)).pack_into


def check_rows(name: str, num_rows: int, stride: int, row_bytes: int) -> None:
    """Raises ValueError for negative sizes, and for rows that overlap; stride in bytes."""
    if num_rows < 0 or row_bytes < 0:
        raise ValueError(f"{name} has a negative size: {num_rows} rows of {row_bytes} bytes")
    # The stride of a single row says nothing: there is no second one.
    if num_rows > 1 and stride < row_bytes:
        raise ValueError(f"rows of {name} overlap: {row_bytes} bytes each, {stride} bytes apart")


@intrinsic
def read(typing: Any, kind: Any, address: Any) -> Any:
    """For compiled code: the NamedTuple that was packed at the address."""
    fields = _field_types(kind.instance_class)
    result = types.NamedTuple(
        [_NUMBA_TYPES[field] for field in fields.values()], kind.instance_class
    )

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = []
        for index, field in enumerate(fields.values()):
            word = ir.DoubleType() if field is float else _I64
            at = builder.add(args[1], _I64(index * _WORD))
            value = builder.load(builder.inttoptr(at, word.as_pointer()))
            if field is bool:
                value = builder.icmp_signed("!=", value, _I64(0))
            values.append(value)
        return context.make_tuple(builder, result, values)

    return result(kind, types.int64), codegen


def _field_types(kind: Any) -> dict[str, type]:
    """Raises TypeError for what cannot be packed, and for too many fields."""
    fields = {name: get_type_hints(kind)[name] for name in kind._fields}
    for name, field in fields.items():
        if field not in _FORMATS:
            raise TypeError(f"{kind.__name__}.{name} must be an int, a bool or a float: {field}")
    if len(fields) > MAX_ARGUMENTS:
        raise TypeError(f"{kind.__name__} has {len(fields)} fields, more than {MAX_ARGUMENTS}")
    return fields
