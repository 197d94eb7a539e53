"""A region's tables under their names, in an engine: `schema.table` and, by default, `table`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from proa.engine import Engine

DEFAULT = "default"


def register(engine: Engine, tables: Iterable[Mapping[str, Any]], schema: str | None) -> None:
    """Make `tables`, each `{"schema", "name", "url"}`, known to the engine's SQL.

    `schema` is where names without a schema are looked for.
    """
    spark = engine.spark
    with engine.translating():
        known = {DEFAULT}
        for table in tables:
            place = str(table["schema"] or DEFAULT)
            if place not in known:
                spark.sql(f"create schema if not exists {_quoted(place)}")
                known.add(place)
            spark.sql(
                f"create table if not exists {_quoted(place)}.{_quoted(str(table['name']))}"
                f" using delta location '{_escaped(str(table['url']))}'"
            )
        if schema and schema in known:
            spark.sql(f"use schema {_quoted(schema)}")


def _quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
