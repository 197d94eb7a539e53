"""Guess which columns tell a table's rows apart, so that differing rows can be paired.

Apart because which columns tell rows apart is a question of its own.
"""

# ruff: noqa: S608 - identifiers are quoted, no value is put into a query

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb
import pyarrow as pa

from proa.recovery.row_hash import quote_identifier

MOST_COLUMNS = 4

_ID = re.compile(r"(^|_)(id|key|uuid|guid|no|nr|number|code|pk|sk)$|id$", re.IGNORECASE)


def guess_key(
    db: duckdb.DuckDBPyConnection, table: str, fields: list[pa.Field], names: Sequence[str]
) -> tuple[str, ...]:
    """Guess a smallest set of columns without repetition in `table`, by `names`; empty without one.

    `fields` are the table's columns, `names` what the user calls them. Columns named like identifiers
    are tried first, then the others in the order of `fields`; floats and nested columns never.
    """
    able = [one.name for one in fields if _can_be_key(one.type)]
    if not able:
        return ()
    counts = db.execute(
        f"SELECT count(*), {', '.join(f'approx_count_distinct({quote_identifier(name)})' for name in able)}"
        f" FROM {table}"
    ).fetchone()
    assert counts is not None
    rows, distinct = counts[0], dict(zip(able, counts[1:], strict=True))
    called = {one.name: name for one, name in zip(fields, names, strict=True)}
    order = sorted(able, key=lambda name: not _ID.search(called[name]))
    for name in order:
        # The estimate is off by a few per cent: only a clear miss is believed.
        if distinct[name] >= 0.8 * rows and _unique(db, table, (name,), rows):
            return (called[name],)
    chosen: tuple[str, ...] = ()
    for name in order[:MOST_COLUMNS]:
        chosen = (*chosen, name)
        if len(chosen) > 1 and _unique(db, table, chosen, rows):
            return tuple(called[name] for name in chosen)
    return ()


def _unique(db: duckdb.DuckDBPyConnection, table: str, columns: tuple[str, ...], rows: int) -> bool:
    listed = ", ".join(quote_identifier(name) for name in columns)
    found = db.execute(f"SELECT count(*) FROM (SELECT DISTINCT {listed} FROM {table})").fetchone()
    return found is not None and found[0] == rows


def _can_be_key(kind: pa.DataType) -> bool:
    types = pa.types
    return not (types.is_floating(kind) or types.is_nested(kind) or types.is_null(kind))
