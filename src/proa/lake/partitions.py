"""Partition columns: which rows go together, and how their values are spelled."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from proa.errors import DataError

_NULL = "__HIVE_DEFAULT_PARTITION__"

Key = tuple[str | None, ...]


def split(batch: pa.RecordBatch, columns: Sequence[str]) -> Iterator[tuple[Key, pa.RecordBatch]]:
    """`batch` cut into one batch per combination of the columns' values, spelled as Delta does."""
    if not columns:
        yield (), batch
        return
    codes = np.zeros(batch.num_rows, dtype=np.int64)
    for name in columns:
        encoded = batch.column(name).dictionary_encode(null_encoding="encode")
        codes = codes * len(encoded.dictionary) + encoded.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    ordered = batch.take(pa.array(order)) if len(starts) > 1 else batch
    for start, end in zip(starts, [*starts[1:], batch.num_rows], strict=True):
        part = ordered.slice(int(start), int(end - start))
        yield tuple(_partition_text(part.column(name)[0]) for name in columns), part


def directory(columns: Sequence[str], key: Key) -> str:
    """The folder of a partition, as Hive names it, with a slash at the end; "" without columns."""
    return "".join(
        f"{urllib.parse.quote(name, safe=_SAFE)}={_NULL if value is None else _escape(value)}/"
        for name, value in zip(columns, key, strict=True)
    )


_SAFE = "!$&()+,;@~.-_"


def _escape(value: str) -> str:
    return urllib.parse.quote(value, safe=_SAFE) or _NULL


def _partition_text(value: pa.Scalar) -> str | None:
    """A value as Delta writes it among `partitionValues`; an empty string is NULL there."""
    kind = value.type
    if not value.is_valid:
        return None
    if pa.types.is_boolean(kind):
        return "true" if value.as_py() else "false"
    if pa.types.is_timestamp(kind):
        micros = pc.cast(value, pa.int64()).as_py()
        return str(np.datetime64(micros, "us")).replace("T", " ")
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise DataError(f"a table cannot be partitioned by a column of the type {kind}")
    return str(value.as_py()) or None
