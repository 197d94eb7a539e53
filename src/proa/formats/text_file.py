"""Text files: a row per line, or per file.

Apart because each format has a module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from proa.formats.arrow_json import Lines
from proa.formats.reader_options import ReaderOptions
from proa.formats.source import OpenPart
from proa.lazy import compute as pc


class TextReader:
    r"""Reads into one string column of `schema`: `value`, or else the first; others are null.

    Bytes that are not UTF-8 come as `\xhh`.
    """

    def __init__(self, schema: pa.Schema, options: ReaderOptions) -> None:
        self.schema = schema
        self.options = options

    def read(self, source: OpenPart, file: str) -> Iterator[pa.Table]:  # noqa: ARG002 - as all readers
        """The rows of one part."""
        if self.options.whole_text:
            with source.guard():
                value = pa.array([_decode(source.whole())], pa.string())
            yield self._table(value)
            return
        for block in source.lines():
            lines = Lines(block)
            try:
                lines.array.validate(full=True)
            except pa.ArrowInvalid:
                lines = Lines(_decode(block).encode())
            yield self._table(pc.replace_substring_regex(lines.array, r"\r?\n$", ""))

    def _table(self, values: pa.Array) -> pa.Table:
        column = line_column(self.schema.names)
        arrays = [
            values if f.name == column else pa.nulls(len(values), f.type) for f in self.schema
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)


def line_column(names: Sequence[str]) -> str | None:
    """Which of the columns takes the lines of text files; None when there is no column."""
    return "value" if "value" in names else next(iter(names), None)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
