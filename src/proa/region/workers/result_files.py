"""A statement's result as files, one for each chunk, written as the rows come.

Memory holds one chunk at a time. Values are texts as Databricks writes them in JSON and CSV. The server hands the files out by links that need no token.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

CHUNK_ROWS = 100_000
CHUNK_BYTES = 16 * 1024 * 1024

SUFFIXES = {"ARROW_STREAM": "arrow", "CSV": "csv", "JSON_ARRAY": "json"}
"""The formats of results, and what their files' names end with."""


def write_results(  # noqa: PLR0913 - what a result is made of
    schema: Any,
    batches: Iterable[Any],
    format: str,  # noqa: A002 - the API's own word
    folder: str,
    *,
    row_limit: int,
    byte_limit: int | None,
) -> tuple[list[dict[str, Any]], bool]:
    """Write record batches into files of `folder`, which must be there.

    Returns ([{"name", "rows", "bytes"}] in order, whether rows were left out for a limit).
    """
    files: list[dict[str, Any]] = []
    rows = size = 0
    for number, table in enumerate(_chunks(schema, batches)):
        truncated = rows + table.num_rows > row_limit
        part = table.slice(0, row_limit - rows) if truncated else table
        path = Path(folder, f"{number}.{SUFFIXES[format]}")
        _write(part, format, path)
        length = path.stat().st_size
        if byte_limit is not None and size + length > byte_limit:
            path.unlink()
            return files, True
        if part.num_rows or not files:
            files.append({"name": path.name, "rows": part.num_rows, "bytes": length})
        rows, size = rows + part.num_rows, size + length
        if truncated:
            return files, True
    return files, False


def _chunks(schema: Any, batches: Iterable[Any]) -> Iterator[Any]:
    """The batches as tables of about one chunk each; one empty table if there are no rows."""
    import pyarrow as pa

    held: list[Any] = []
    rows = size = yielded = 0
    for batch in batches:
        for at in range(0, batch.num_rows, CHUNK_ROWS):
            piece = batch.slice(at, CHUNK_ROWS)
            if held and (rows + piece.num_rows > CHUNK_ROWS or size + piece.nbytes > CHUNK_BYTES):
                yield pa.Table.from_batches(held, schema)
                yielded, held, rows, size = yielded + 1, [], 0, 0
            held.append(piece)
            rows, size = rows + piece.num_rows, size + piece.nbytes
    if held or not yielded:
        yield pa.Table.from_batches(held, schema)


def _write(table: Any, format: str, path: Path) -> None:  # noqa: A002 - the API's own word
    import pyarrow as pa

    if format == "ARROW_STREAM":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return
    columns = [text_cells(column) for column in table.columns]
    if format == "JSON_ARRAY":
        rows = [list(row) for row in zip(*columns, strict=True)]
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        return
    from pyarrow import csv

    texts = pa.table([pa.array(cells, pa.string()) for cells in columns], names=table.column_names)
    csv.write_csv(texts, str(path))


_FLOATS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def text_cells(column: Any) -> list[str | None]:
    """The values of a column of Arrow as texts, nulls as None."""
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        texts = column.cast(pa.string()).to_pylist()
        return [None if text is None else _FLOATS.get(text, text) for text in texts]
    return [_cell(value) for value in column.to_pylist(maps_as_pydicts="lossy")]


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list | tuple):
        return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)
    return _scalar(value)


def _plain(value: Any) -> Any:
    """What JSON can say of a nested value; the keys of maps are texts."""
    if isinstance(value, dict):
        return {_cell(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.datetime):
        text = value.replace(tzinfo=None).isoformat(timespec="milliseconds")
        return text + "Z" if value.tzinfo else text
    if isinstance(value, decimal.Decimal):
        return f"{value:f}"
    if isinstance(value, dt.timedelta):
        return _interval(value)
    text = str(value)
    return _FLOATS.get(text, text) if isinstance(value, float) else text


def _interval(value: dt.timedelta) -> str:
    """`1 02:03:04.500000000`, days first, as Databricks writes an interval."""
    sign, rest = ("-", -value) if value < dt.timedelta(0) else ("", value)
    hours, seconds = divmod(rest.seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    return f"{sign}{rest.days} {hours:02}:{minutes:02}:{seconds:02}.{rest.microseconds:06}000"
