"""Proa's own functions: whole Arrow arrays in, one Arrow array out. The engine calls them.

Each answers what Spark answers. `KERNELS` finds them by name; a kernel gets the Arrow type that it is
to answer in as its first argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from proa.engine.carried_errors import carry_errors
from proa.errors import DataError
from proa.lazy import compute as pc

Array = Any
KERNELS: dict[str, Callable[..., Array]] = {}


def kernel(function: Callable[..., Array]) -> Callable[..., Array]:
    """Make `function` known by its name."""
    KERNELS[function.__name__] = function
    return function


class SparkError(DataError):
    """An error that Spark raises over a value: its condition, and a sentence."""

    def __init__(self, condition: str, sentence: str) -> None:
        super().__init__(
            f"a row cannot be computed: {sentence}; mend the data, or let the query yield NULL for it"
            " (try_cast, try_divide, try_element_at)",
            condition=condition,
        )


def each(function: Callable[..., Any], type_: Any, *arrays: Array) -> Array:
    """`function` of each distinct combination of values; NULL where any of them is NULL.

    The work is done once for each distinct value, so columns of few values cost little.
    """
    varying = [k for k, array in enumerate(arrays) if not _is_constant(array)]
    if len(varying) == 1 and _encodes(arrays[varying[0]].type):
        place = varying[0]
        constants = [array[0].as_py() for array in arrays]
        if any(value is None for k, value in enumerate(constants) if k != place):
            return pa.nulls(len(arrays[0]), type_)
        head, tail = constants[:place], constants[place + 1 :]
        encoded = arrays[place].dictionary_encode()
        found = pa.array([function(*head, v, *tail) for v in encoded.dictionary.to_pylist()], type_)
        return found.take(encoded.indices) if len(found) else pa.nulls(len(arrays[0]), type_)
    memory: dict[Any, Any] = {}
    answers: list[Any] = []
    for row in zip(*(array.to_pylist() for array in arrays), strict=True):
        if None in row:
            answers.append(None)
            continue
        key = repr(row)
        if key not in memory:
            memory[key] = function(*row)
        answers.append(memory[key])
    return pa.array(answers, type_)


def _is_constant(array: Array) -> bool:
    """Whether all rows have the same value, of a type that a literal may have."""
    kind = array.type
    if not (pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return False
    return len(array) > 1 and len(pc.unique(array)) == 1


def patch(quick: Array, unsure: Any, slow: Callable[[Array], Array], array: Array) -> Array:
    """The quick answers, with slow ones in the rows of `unsure`, a NumPy array of booleans."""
    if not unsure.any():
        return quick
    rows = pa.array(unsure)
    return pc.replace_with_mask(quick, rows, slow(array.filter(rows)))


def _encodes(type_: Any) -> bool:
    return not (
        pa.types.is_nested(type_) or pa.types.is_duration(type_) or pa.types.is_interval(type_)
    )


def load() -> dict[str, Callable[..., Array]]:
    """All kernels."""
    from proa.engine.parity import (  # noqa: F401 - they make themselves known
        kernels_aggregates,
        kernels_arrays,
        kernels_casts,
        kernels_hyperloglog,
        kernels_json,
        kernels_numeric,
        kernels_regex,
        kernels_rounding,
        kernels_text,
        kernels_time,
    )

    return KERNELS


def caller(name: str, type_: Any) -> Callable[..., Array]:
    """What the engine calls for the kernel `name` that answers in the Arrow type `type_`."""

    def called(*arrays: Array) -> Array:
        if arrays and len(arrays[0]) == 0:  # what FILTER lets through of a batch may be nothing
            return pa.nulls(0, type_)
        with carry_errors():
            found = load()[name](type_, *(plain(array) for array in arrays))
            return as_type(found, type_)

    return called


def plain(array: Array) -> Array:
    """One array of the types that kernels speak: no chunks, no views, no large strings.

    No list that is NULL has members: the engine may leave some behind.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = array.type
    if pa.types.is_large_string(kind) or str(kind) == "string_view":
        return array.cast(pa.string())
    if pa.types.is_large_binary(kind) or str(kind) == "binary_view":
        return array.cast(pa.binary())
    if (
        pa.types.is_list(kind)
        and array.null_count
        and len(array.flatten()) < len(pc.list_parent_indices(array))
    ):
        return array.take(pa.array(range(len(array)), pa.int64()))
    return array


def as_type(array: Array, type_: Any) -> Array:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return nulls_inside(array if array.type == type_ else pc.cast(array, type_))


def nulls_inside(array: Array) -> Array:
    """The array with NULL in each field of a struct that is NULL; the engine reads fields as they are."""
    if not pa.types.is_struct(array.type) or array.null_count == 0:
        return array
    missing = pc.is_null(array)
    fields = [
        nulls_inside(pc.if_else(missing, pa.scalar(None, child.type), child))
        for child in (array.field(k) for k in range(array.type.num_fields))
    ]
    return pa.StructArray.from_arrays(fields, fields=list(array.type), mask=missing)
