"""The columns and types of a CSV file."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import types as t

from proa.autoloader.options import ReaderOptions
from proa.autoloader.readers.casts import text_type
from proa.autoloader.readers.csv import read_texts
from proa.autoloader.readers.source import Source
from proa.autoloader.types import merge_structs, spark_type


def infer_csv(source: Source, options: ReaderOptions, *, types: bool) -> t.StructType:
    """The columns in the file's order; without `types` every one is a string."""
    merged = t.StructType()
    for names, rows in read_texts(source, options, []):
        extra = max(map(len, rows.surplus.values()), default=0) if not options.header else 0
        found = [
            t.StructField(name, _type(rows.texts.column(i), options) if types else t.StringType())
            for i, name in enumerate(names)
        ]
        found += [t.StructField(f"_c{len(names) + i}", t.StringType()) for i in range(extra)]
        merged = merge_structs(merged, t.StructType(found))
        if not types and options.header:
            break
    return merged


def _type(column: pa.ChunkedArray, options: ReaderOptions) -> t.DataType:
    texts = column.combine_chunks()
    if isinstance(texts, pa.ChunkedArray):
        texts = pa.concat_arrays(texts.chunks)
    kind = text_type(texts, options)
    return t.NullType() if pa.types.is_null(kind) else spark_type(kind)
