"""`proa query`: a region's tables by SQL."""

from __future__ import annotations

import json
import math
import sys
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.table import Table

from proa.cli.output import console
from proa.cli.project import JsonOption, ProjectOption, find_project
from proa.cli.run import RegionOption
from proa.times import utc_text


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
    from proa.engine import Engine
    from proa.pipelines.identifiers import Namespace
    from proa.runtime import from_project
    from proa.runtime.queries import Queries

    pipeline = from_project(find_project(project), region)
    with Engine.start(pipeline.engine, pipeline.options) as engine:
        found = Queries(
            pipeline.storage,
            engine,
            pipeline.options,
            namespace=Namespace(pipeline.spec.catalog, pipeline.spec.database),
        ).arrow(sql, as_of_version=as_of_version)
    rows = [dict(zip(found.column_names, row, strict=True)) for row in _rows(found)]
    if as_json:
        lines = ",\n".join(f"  {to_json(row)}" for row in rows)
        sys.stdout.write(f"[\n{lines}\n]\n" if rows else "[]\n")
        return
    table = Table(box=None, pad_edge=False)
    for name in found.column_names:
        table.add_column(name)
    for row in rows:
        table.add_row(*("NULL" if value is None else _shown(value) for value in row.values()))
    console.print(table)
    console.print(f"{len(rows)} row{'s' * (len(rows) != 1)}", style="dim")


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


def _rows(found: Any) -> list[tuple[Any, ...]]:
    """Rows as tuples: two columns may share a name."""
    columns = [column.to_pylist() for column in found.columns]
    return list(zip(*columns, strict=True))


def _shown(value: Any) -> str:
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
