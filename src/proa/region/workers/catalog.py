"""A region's tables under their names: `schema.table` and, by default, `table`.

For a notebook's session, and for statements that show or explain. A query of a statement is bound to
the files of its tables instead: see `warehouse`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from proa.engine import Engine
from proa.region.workers.port import DEFAULT_SCHEMA
from proa.text import quote_identifier, string_literal


def register_tables(engine: Engine, tables: Iterable[Mapping[str, Any]]) -> None:
    """Make `tables`, each `{"schema", "name", "url"}`, known to the engine's SQL."""
    spark = engine.spark
    with engine.translating():
        known = {DEFAULT_SCHEMA}
        for table in tables:
            place = str(table["schema"] or DEFAULT_SCHEMA)
            if place not in known:
                spark.sql(f"create schema if not exists {quote_identifier(place)}")
                known.add(place)
            spark.sql(
                f"create table if not exists {quote_identifier(place)}.{quote_identifier(str(table['name']))}"
                f" using delta location {string_literal(str(table['url']))}"
            )


def enter_schema(engine: Engine, tables: Iterable[Mapping[str, Any]], schema: str | None) -> None:
    """Look for names without a schema in `schema`, if one of `tables` is there, else by default."""
    there = schema and any(table["schema"] == schema for table in tables)
    with engine.translating():
        engine.spark.sql(f"use schema {quote_identifier(str(schema) if there else DEFAULT_SCHEMA)}")
