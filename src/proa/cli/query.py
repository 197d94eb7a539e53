"""`proa query`: a region's tables by SQL."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain, islice
from typing import Annotated, Any

import typer
from rich.text import Text

from proa.cli.output import console, new_table, print_table, reader_may_leave
from proa.cli.project import JsonOption, ProjectOption, RegionOption, chosen_region, find_project
from proa.times import utc_text

_MEASURED_ROWS = 1000


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("query")(query)


def query(
    sql: Annotated[str, typer.Argument(help="A SELECT; tables by their names.")],
    region: RegionOption = None,
    as_of_version: Annotated[
        int | None,
        typer.Option("--as-of-version", min=0, metavar="N", help="Read the tables at a version."),
    ] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read tables with SQL. Cannot write.

    --json prints an array of row objects: numbers with all their digits, times in ISO 8601,
    bytes in base64.

    Example: proa query --region east "SELECT count(*) AS orders FROM orders_clean"
    """
    folder = find_project(project)
    region_name = chosen_region(folder, region)
    from proa.engine import Engine
    from proa.pipelines.identifiers import Namespace
    from proa.runtime import from_project
    from proa.runtime.queries import Queries, StoredTables

    pipeline = from_project(folder, region_name)
    with Engine.start(pipeline.engine, pipeline.options) as engine:
        namespace = Namespace(pipeline.spec.catalog, pipeline.spec.database)
        tables = StoredTables(pipeline.storage, pipeline.options, namespace=namespace)
        schema, batches = Queries(engine, tables).stream(sql, as_of_version=as_of_version)
        with reader_may_leave():
            (print_objects if as_json else print_rows)(schema.names, batches)


def print_objects(names: Sequence[str], batches: Iterable[Any]) -> None:
    """Print one JSON array with an object for each row, as record batches come."""
    separator = "[\n"
    for row in _rows(batches):
        sys.stdout.write(f"{separator}  {to_json(dict(zip(names, row, strict=True)))}")
        separator = ",\n"
    sys.stdout.write("[]\n" if separator == "[\n" else "\n]\n")


def print_rows(names: Sequence[str], batches: Iterable[Any]) -> None:
    """Print rows in columns, as record batches come, and then their number.

    The first rows decide how wide a column is. Few rows fit the terminal; more are printed as they
    come, a line each.
    """
    rows = (tuple(map(_cell, row)) for row in _rows(batches))
    first = list(islice(rows, _MEASURED_ROWS))
    count = len(first)
    if count < _MEASURED_ROWS:
        table = new_table(*names)
        for row in first:
            table.add_row(*map(Text, row))
        print_table(table)
    else:
        widths = [max(map(len, column)) for column in zip(names, *first, strict=True)]
        for row in chain([tuple(names)], first, rows):
            line = "  ".join(map(str.ljust, row, widths))
            sys.stdout.write(f"{line.rstrip()}\n")
            count += 1
        count -= 1 + len(first)
    console.print(f"{count:,} row{'s' * (count != 1)}", style="dim")


def to_json(value: Any) -> str:
    """JSON that keeps the digits of decimals; what JSON has no word for becomes a string."""
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{json.dumps(str(k))}: {to_json(v)}" for k, v in value.items()) + "}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(to_json, value)) + "]"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(str(value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(_text(value))


def _rows(batches: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of record batches as tuples: two columns may share a name."""
    for batch in batches:
        for start in range(0, batch.num_rows, _MEASURED_ROWS):
            part = batch.slice(start, _MEASURED_ROWS)
            yield from zip(*map(_values, part.columns), strict=True)


def _values(column: Any) -> list[Any]:
    """A column's values as Python has them; a time beyond Python's years is text."""
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        return [_value(scalar) for scalar in column]
    return values


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        number = getattr(scalar, "value", None)
        return _far_time(scalar, number) if number is not None else f"{scalar.type} out of range"


def _far_time(scalar: Any, number: int) -> str:
    """A time beyond Python's years as Java writes it: `+290000-12-31T01:00:00Z`."""
    import numpy as np
    import pyarrow as pa

    kinds = pa.types
    if not (kinds.is_timestamp(scalar.type) or kinds.is_date32(scalar.type)):
        return f"{scalar.type} out of range: {number}"
    unit: Any = scalar.type.unit if kinds.is_timestamp(scalar.type) else "D"
    text = str(np.datetime64(number, unit))
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    zone = "Z" if kinds.is_timestamp(scalar.type) and scalar.type.tz else ""
    return ("" if number < 0 else "+") + text + zone


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, (dict, list, tuple)):
        return to_json(value)
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    return str(value)
