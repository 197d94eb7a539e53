"""Reading bytes with one reader, without an engine."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from proa.autoloader.options import parse
from proa.autoloader.tasks import opener_of, reader_of
from proa.formats.columnar import infer_columns
from proa.formats.json_record import Converter
from proa.formats.source import OpenPart, Part


def read(
    data: bytes,
    schema: pa.Schema,
    options: Mapping[str, str],
    *,
    name: str = "file",
    bounds: tuple[int, ...] = (),
    schema_given: bool = False,
) -> list[dict[str, Any]]:
    """The rows of a file with these bytes, read in ranges cut at `bounds`."""
    return tables(
        data, schema, options, name=name, bounds=bounds, schema_given=schema_given
    ).to_pylist()


def tables(
    data: bytes,
    schema: pa.Schema,
    options: Mapping[str, str],
    *,
    name: str = "file",
    bounds: tuple[int, ...] = (),
    schema_given: bool = False,
) -> pa.Table:
    """The same as a table: its values need not be Python's."""
    parsed = parse(options, schema_given=schema_given).reader
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        edges = [0, *bounds, None]
        read: list[pa.Table] = []
        reader = reader_of(schema, parsed)
        for start, end in itertools.pairwise(edges):
            part = Part(str(path), len(data), 0, start or 0, end)
            for table in reader.read(OpenPart(part, parsed, {}), name):
                table.validate(full=True)
                read.append(table)
        return pa.concat_tables([schema.empty_table(), *read])


def one_by_one(
    lines: list[bytes],
    schema: pa.Schema,
    options: Mapping[str, str],
    *,
    schema_given: bool = False,
) -> list[dict[str, Any]]:
    """The rows of lines of JSON as the exact converter makes them."""
    parsed = parse(options, schema_given=schema_given).reader
    hidden = {parsed.rescued_column, parsed.corrupt_column} & set(schema.names)
    convert = Converter(schema, parsed, "file", hidden=frozenset(hidden))
    rows = [row for line in lines for row in convert.rows_of(line)]
    return pa.Table.from_pylist(rows, schema=schema).to_pylist()


def as_texts(rows: list[dict[str, Any]]) -> list[str]:
    """Rows without an order, NaN equal to NaN."""
    return sorted(repr(row) for row in rows)


def inferred(format_name: str, data: bytes, folder: Path) -> str:
    """The type that is inferred of a typed file with these bytes, as text."""
    path = folder / f"f.{format_name}"
    path.write_bytes(data)
    options = parse({"format": format_name}, schema_given=False).reader
    part = OpenPart(Part(str(path), len(data), 0), options, {})
    text: str = infer_columns(part, options, opener_of(format_name)).simpleString()
    return text
