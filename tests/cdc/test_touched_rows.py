"""Partial groups put together are the groups of all rows, or are said to be unclear."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import types as T

from proa.cdc import ChangeShape, MergeInput
from proa.cdc.touched_rows import PartialGroups, TouchedKeys, merge_groups, replace_touched
from proa.lake import Destination, Table
from proa.lake.table_schema import to_arrow

Row = tuple[str | None, int | None]

MEASURES = {"n": "rows", "c": "count", "s": "sum", "lo": "min", "hi": "max"}


def columns(measures: Sequence[str]) -> T.StructType:
    numbers = [T.StructField(name, T.LongType()) for name in measures]
    return T.StructType([T.StructField("k", T.StringType()), *numbers])


def groups_of(rows: Sequence[Row], measures: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for key in {key for key, _ in rows}:
        values = [v for k, v in rows if k == key and v is not None]
        every = {
            "n": sum(k == key for k, _ in rows),
            "c": len(values),
            "s": sum(values) if values else None,
            "lo": min(values, default=None),
            "hi": max(values, default=None),
        }
        found.append({"k": key, **{name: every[name] for name in measures}})
    return found


def parquet(place: Path, name: str, groups: list[dict[str, Any]], schema: T.StructType) -> str:
    path = place / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(groups, schema=to_arrow(schema)), path)
    return str(path)


def read(place: Path, files: Sequence[Any]) -> list[dict[str, Any]]:
    return [row for file in files for row in pq.read_table(place / file.path).to_pylist()]


ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([-1, 0, 1, 2, None])), max_size=6
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    old=ROWS,
    came=ROWS,
    data=st.data(),
    names=st.sampled_from([tuple(MEASURES), ("s",), ("c", "lo"), ("hi",), ("n", "s")]),
)
def test_merged_groups_are_the_groups_of_all_rows(
    old: list[Row], came: list[Row], data: st.DataObject, names: tuple[str, ...]
) -> None:
    there = [*old, *came]
    goes = [data.draw(st.booleans()) for _ in there]
    went = [row for row, gone in zip(there, goes, strict=True) if gone]
    left = [row for row, gone in zip(there, goes, strict=True) if not gone]
    schema = columns(names)
    with TemporaryDirectory() as folder:
        place = Path(folder)
        groups = pa.Table.from_pylist(groups_of(old, names), schema=to_arrow(schema))
        write_deltalake(str(place / "view"), groups)
        table = Table.at(str(place / "view"))
        table.refresh()
        staging = Destination(str(place / "staging"), {}, to_arrow(schema), "attempt")
        (place / "staging").mkdir()
        given_parts = PartialGroups(
            table,
            table.version,
            schema,
            ("k",),
            {name: MEASURES[name] for name in names},
            (parquet(place, "came", groups_of(came, names), schema),),
            (parquet(place, "went", groups_of(went, names), schema),) if went else (),
        )
        touched, settled, unclear = merge_groups(given_parts, staging)
        keys = {row["__proa_k0"] for row in read(place / "staging", touched)}
        anew = {row["__proa_k0"] for row in read(place / "staging", unclear)}
        assert keys == {key for key, _ in (*came, *went)}
        wanted = groups_of(left, names)
        rows = read(place / "staging", settled)
        assert sorted(rows, key=str) == sorted(
            (row for row in wanted if row["k"] in keys - anew), key=str
        )
        if "n" in names and not set(names) & {"lo", "hi"} and "s" not in names:
            assert not anew
        if not keys:
            return
        given_merge = MergeInput(
            table,
            table.version,
            0,
            ChangeShape(("k",), schema, None),
            "",
            (),
            schema,
            (),
            "attempt",
        )
        located = [
            tuple(f"{place}/staging/{f.path}" for f in files) for files in (touched, settled)
        ]
        merged = replace_touched(given_merge, TouchedKeys(("k",), *located), ())
        gone = {f"{table.url}/{path}" for path in merged.removes}
        stays = [
            row for f in table.files() if f not in gone for row in pq.read_table(f).to_pylist()
        ]
        assert sorted([*stays, *read(place / "view", merged.adds)], key=str) == sorted(
            (row for row in wanted if row["k"] not in anew), key=str
        )
