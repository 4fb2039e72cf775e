"""What kernels of many accounts need beyond numba: memory asked for ahead, several bytes at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from spy_assets.options.compiled import compiled_with

Records = npt.NDArray[np.void]
#: One of them; its fields have the names and types of the array's.
Record = Any
Array = npt.NDArray[Any]

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """A kernel that does not count references to its arrays: its caller holds them all.

    Counting would be most of a step's time: an atomic addition for each array at each look-up.
    """
    return compiled_with(function, _nrt=False)


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """A kernel that becomes part of its caller: handing its arrays over would cost more."""
    return compiled_with(function, _nrt=False, forceinline=True)


def _prefetch(_context: Any, array: Any, offset: Any) -> Any:
    """A compiled function that asks for a cache line before it is needed."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        address = builder.bitcast(builder.gep(data, [arguments[1]]), pointer)
        read = builder.module.declare_intrinsic(
            "llvm.prefetch",
            (pointer,),
            ir.FunctionType(ir.VoidType(), [pointer, number, number, number]),
        )
        # To be read, and kept in all caches; of data, not of code.
        builder.call(read, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, offset), emit


def _store_word(_context: Any, array: Any, offset: Any, _word: Any) -> Any:
    """A compiled function that writes four bytes of an array of bytes in one go, aligned or not."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        address = builder.gep(builder.bitcast(data, byte), [arguments[1]])
        written = builder.trunc(arguments[2], word)
        builder.store(written, builder.bitcast(address, word.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(array, offset, types.int64), emit


#: Ask for element ``offset`` of a contiguous array; beyond its ends nothing happens.
prefetch = cast("Callable[[Array, int], None]", intrinsic(_prefetch))
#: Write the lower 32 bits of a number to bytes ``offset`` to ``offset + 3`` of a contiguous array.
store_word = cast("Callable[[Array, int, int], None]", intrinsic(_store_word))
