"""Whole files as bytes: one row per file, in the columns that Spark's `binaryFile` has.

Apart because each format has a module.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from proa.formats.problems import ProblemKind
from proa.formats.reader_options import ReaderOptions
from proa.formats.source import OpenPart

BINARY_FILE = pa.schema(
    [
        ("path", pa.string()),
        ("modificationTime", pa.timestamp("us", "UTC")),
        ("length", pa.int64()),
        ("content", pa.binary()),
    ]
)
_LARGEST = (1 << 31) - 1
"""Bytes of a value; Spark's bound."""


class BinaryFileReader:
    """Reads into the columns of `schema`, which are some of `BINARY_FILE`."""

    def __init__(self, schema: pa.Schema, options: ReaderOptions) -> None:
        self.schema = schema
        self.options = options

    def read(self, source: OpenPart, file: str) -> Iterator[pa.Table]:  # noqa: ARG002 - as all readers
        """The row of one file."""
        part = source.part
        wanted = "content" in self.schema.names
        if wanted and part.size > min(self.options.max_record, _LARGEST):
            if part.size > _LARGEST:
                detail = "it has more than 2 GiB, which no value can hold"
                raise source.problem(ProblemKind.CORRUPT, detail)
            raise source.too_large("it is one value")
        with source.guard():
            content = b"".join(source.raw()) if wanted else b""
        values = {
            "path": part.path,
            "modificationTime": part.modified,
            "length": len(content) if wanted else part.size,
            "content": content,
        }
        arrays = [
            pa.array([values.get(f.name)], BINARY_FILE.field(f.name).type).cast(f.type)
            if f.name in values
            else pa.nulls(1, f.type)
            for f in self.schema
        ]
        yield pa.Table.from_arrays(arrays, schema=self.schema)
