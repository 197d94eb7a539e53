"""Plain files are read alike by Proa's own readers and by the engine's.

Only what both promise is compared: values of the column's own type, texts
without line ends and quotes.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.autoloader.options import parse
from proa.autoloader.tasks import reader_of
from proa.engine import Engine
from proa.formats.source import OpenPart, Part

SCHEMA = pa.schema([("i", pa.int64()), ("d", pa.float64()), ("b", pa.bool_()), ("s", pa.string())])
DDL = "i bigint, d double, b boolean, s string"
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.none() | st.integers(-(2**63), 2**63 - 1),
            "d": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "b": st.none() | st.booleans(),
            "s": st.none()
            | st.text("abcé日 ',|{}", min_size=1, max_size=6).map(str.strip).filter(bool),
        }
    ),
    min_size=1,
    max_size=8,
)
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def engine():
    with Engine.start() as started:
        yield started


def by_proa(path: Path, kind: str, options: dict[str, str]) -> Rows:
    written = {"cloudFiles.format": kind, **options}
    parsed = parse(written, schema_given=True).reader
    part = Part(str(path), path.stat().st_size, 0, 0, None)
    tables = reader_of(SCHEMA, parsed).read(OpenPart(part, parsed, {}), path.name)
    return pa.concat_tables([SCHEMA.empty_table(), *tables]).to_pylist()


def by_engine(engine: Engine, path: Path, kind: str, options: dict[str, str]) -> Rows:
    reader = engine.spark.read.schema(DDL).options(**options).format(kind)
    return engine.arrow(reader.load(str(path))).cast(SCHEMA).to_pylist()


def as_json(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows: Rows) -> bytes:
    def cell(value: Any) -> str:
        if isinstance(value, str):
            return '"' + value.replace('"', '""') + '"'
        return "" if value is None else json.dumps(value)

    lines = [
        ",".join(SCHEMA.names),
        *(",".join(cell(row[n]) for n in SCHEMA.names) for row in rows),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def as_parquet(rows: Rows) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), out)
    return out.getvalue()


FORMATS = {
    "json": (as_json, {}),
    "csv": (as_csv, {"header": "true"}),
    "parquet": (as_parquet, {}),
}


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=12)
@given(rows=ROWS)
def test_plain_rows_are_read_alike(engine, tmp_path_factory, kind, rows) -> None:
    write, options = FORMATS[kind]
    path = tmp_path_factory.mktemp(kind) / f"a.{kind}"
    path.write_bytes(write(rows))
    mine, its = by_proa(path, kind, options), by_engine(engine, path, kind, options)
    assert mine == its
    assert [row["i"] for row in mine] == [row["i"] for row in rows]
    assert all(math.isclose(a["d"], b["d"]) for a, b in zip(mine, rows, strict=True) if b["d"])
