import datetime as dt
import json
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from proa.engine import Engine
from proa.errors import DataError, UnavailableError
from proa.lake import (
    Change,
    Destination,
    Flag,
    Table,
    commit_change,
    create_table,
    stats,
    write_frame,
)
from proa.lake.table_schema import from_delta, to_arrow, to_delta
from proa.lake.writer import Outcome, task
from proa.violations import Violation

ROWS = pa.table(
    {
        "n": pa.array([1, 2, None], pa.int64()),
        "price": pa.array([Decimal("1.10"), Decimal("-5.25"), None], pa.decimal128(38, 2)),
        "at": pa.array([dt.datetime(2020, 1, 1, 1, 1, 1, 123456, dt.UTC)] * 3),
        "naive": pa.array(
            [dt.datetime(2020, 1, 1, 1, 1, 1, 123000, dt.UTC)] * 3, pa.timestamp("us")
        ),
        "day": pa.array([dt.date(2020, 2, 29), dt.date(1970, 1, 1), None]),
        "name": ["b" * 40, "a", None],
        "place": [{"x": 1.5, "in": {"y": "q"}}, None, {"x": None, "in": None}],
        "tags": [["a"], [], None],
        "counts": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int32())),
        "raw": [b"\x00", b"", None],
        "yes": [True, False, None],
        "f": [1.0, float("nan"), None],
    }
)


def written(engine: Engine, rows: pa.Table, url: str, options=None, **target):
    frame = engine.spark.createDataFrame(rows)
    flags = {flag.column for flag in target.get("flags", ())}
    schema = pa.schema([field for field in rows.schema if field.name not in flags])
    made = Destination(url, options or {}, schema, "attempt", **target)
    return write_frame(engine, frame, made)


def tabled(result, rows: pa.Table, url: str, options=None, partition_by=()) -> Table:
    from deltalake import Schema

    table = Table.at(url, options or {})
    schema = from_delta(Schema.from_arrow(rows.schema))
    create_table(table, schema, partition_by=partition_by)
    commit_change(table, Change("f", 0, "a", 0, adds=result.files))
    return table


def test_rows_of_every_type_come_back_as_they_were(engine: Engine, tmp_path) -> None:
    result = written(engine, ROWS, str(tmp_path))
    tabled(result, ROWS, str(tmp_path))
    back = DeltaTable(tmp_path).to_pyarrow_dataset().to_table()
    assert str(back.drop(["f"]).to_pylist()) == str(ROWS.drop(["f"]).to_pylist())
    assert result.rows == 3


@pytest.mark.parametrize("zone", ["UTC", None])
@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("year", [1, 1883, 1969, 1970, 9999, 10000])
def test_the_bounds_of_moments_are_those_that_arrow_tells(tmp_path, unit, zone, year) -> None:
    per_second = 1_000 if unit == "ms" else 1_000_000
    days = (dt.date(min(year, 9999), 6, 1) - dt.date(1970, 1, 1)).days + 366 * (year > 9999)
    values = pa.array([days * 86_400 * per_second + n for n in (7, 1234, -5)], pa.int64())
    rows = pa.table({"at": values.cast(pa.timestamp(unit, zone))})
    pq.write_table(rows, tmp_path / "f.parquet")
    footer = pq.read_metadata(tmp_path / "f.parquet")
    found = json.loads(stats.of_file(footer, rows.schema, stats.FloatBounds(rows.schema), skip=()))
    told = footer.row_group(0).column(0).statistics
    try:
        low = told.min.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError):
        assert found["minValues"] == found["maxValues"] == {}
    else:
        assert found["minValues"] == {"at": low}
        assert found["maxValues"]["at"] >= low


def test_statistics_are_true_bounds(engine: Engine, tmp_path) -> None:
    (file,) = written(engine, ROWS, str(tmp_path)).files
    found = json.loads(file.stats, parse_float=Decimal)
    assert found["numRecords"] == 3
    assert found["minValues"] == {
        "n": 1,
        "price": Decimal("-5.25"),
        "at": "2020-01-01T01:01:01.123Z",
        "naive": "2020-01-01T01:01:01.123",
        "day": "1970-01-01",
        "name": "a",
        "place": {"x": Decimal("1.5"), "in": {"y": "q"}},
    }
    assert found["maxValues"] == found["minValues"] | {
        "n": 2,
        "price": Decimal("1.10"),
        "at": "2020-01-01T01:01:01.124Z",
        "day": "2020-02-29",
        "name": "b" * 32 + "\U0010ffff",
    }
    nulls = found["nullCount"]
    assert (nulls["n"], nulls["at"], nulls["place"]["x"], nulls["yes"]) == (1, 0, 2, 1)
    assert "tags" not in nulls


def test_a_column_of_nulls_has_a_count_and_no_bounds(engine: Engine, tmp_path) -> None:
    rows = pa.table({"a": pa.nulls(3, pa.int64()), "b": [1, 2, 3]})
    (file,) = written(engine, rows, str(tmp_path)).files
    assert json.loads(file.stats)["minValues"] == {"b": 1}
    assert json.loads(file.stats)["nullCount"] == {"a": 3, "b": 0}


def test_only_the_first_32_columns_are_indexed(engine: Engine, tmp_path) -> None:
    rows = pa.table({f"c{i:02}": [i] for i in range(40)})
    (file,) = written(engine, rows, str(tmp_path)).files
    assert list(json.loads(file.stats)["minValues"]) == [f"c{i:02}" for i in range(32)]


def test_other_readers_read_it_and_prune_by_partition(engine: Engine, location) -> None:
    url, options = location
    if options:
        engine.close()
        engine = Engine.start(options=options)
    rows = pa.table(
        {
            "a": range(6),
            "day": pa.array([dt.date(2020, 1, d) for d in (1, 2, 1, 2, 3, 3)]),
            "city": ["São/1 %", None, "São/1 %", "", "x=y", "x=y"],
        }
    )
    result = written(engine, rows, f"{url}/t", options, partition_by=("day", "city"))
    tabled(result, rows, f"{url}/t", options, ("day", "city"))
    delta = DeltaTable(f"{url}/t", storage_options=options)
    expected = sorted(row["a"] for row in rows.to_pylist())
    assert sorted(delta.to_pyarrow_dataset().to_table()["a"].to_pylist()) == expected
    day = delta.to_pyarrow_dataset().to_table(filter=ds.field("day") == dt.date(2020, 1, 1))
    assert day["city"].to_pylist() == ["São/1 %"] * 2
    scan = pl.scan_delta(f"{url}/t", storage_options=options)
    assert sorted(scan.collect()["a"].to_list()) == expected
    assert scan.filter(pl.col("day") == dt.date(2020, 1, 3)).collect()["a"].to_list() == [4, 5]
    relation = engine.parquet(delta.file_uris(), from_delta(delta.schema()))
    assert sorted(engine.arrow(engine.dataframe(relation))["a"].to_pylist()) == expected


def test_no_rows_make_no_file(engine: Engine, tmp_path) -> None:
    frame = engine.spark.range(0)
    result = write_frame(
        engine, frame, Destination(str(tmp_path), {}, pa.schema([("id", pa.int64())]), "x")
    )
    assert (result.files, result.rows) == ((), 0)


def flagged(*flags: Flag) -> tuple[pa.Table, dict]:
    rows = pa.table(
        {
            "a": range(10),
            "even": [i % 2 == 0 for i in range(10)],
            "small": [i < 3 for i in range(10)],
        }
    )
    keep = ["a", *(flag.column for flag in flags)]
    return rows.select(keep), {"flags": flags}


def test_a_warning_counts_and_keeps(engine: Engine, tmp_path) -> None:
    rows, target = flagged(Flag("even", "is even", Violation.WARN))
    result = written(engine, rows, str(tmp_path), **target)
    assert (result.rows, result.dropped) == (10, 0)
    assert result.outcomes == (Outcome("is even", Violation.WARN, 5, 5),)


def test_a_drop_counts_and_drops_and_the_flags_are_not_stored(engine: Engine, tmp_path) -> None:
    rows, target = flagged(
        Flag("even", "is even", Violation.DROP), Flag("small", "is small", Violation.DROP)
    )
    result = written(engine, rows, str(tmp_path), **target)
    assert [(o.passed, o.failed) for o in result.outcomes] == [(5, 5), (3, 7)]
    assert (result.rows, result.dropped, result.broken) == (2, 8, None)
    (file,) = result.files
    assert pq.read_table(tmp_path / file.path).to_pydict() == {"a": [0, 2]}


def test_a_broken_rule_leaves_no_file_and_shows_rows(engine: Engine, tmp_path) -> None:
    rows, target = flagged(Flag("even", "is even", Violation.FAIL))
    result = written(engine, rows, str(tmp_path), **target)
    assert result.broken is not None
    assert (result.broken.expectation, result.broken.failed) == ("is even", 5)
    assert result.broken.samples == ['{"a": 1}', '{"a": 3}', '{"a": 5}']
    assert (result.files, list(tmp_path.rglob("*.parquet"))) == ((), [])


def test_a_null_where_none_may_be_is_refused(engine: Engine, tmp_path) -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    frame = engine.spark.createDataFrame(pa.table({"a": pa.array([1, None], pa.int64())}))
    with pytest.raises(DataError, match=r"column 'a' .* is NOT NULL") as caught:
        write_frame(engine, frame, Destination(str(tmp_path), {}, schema, "x"))
    assert caught.value.condition == "NOT_NULL_CONSTRAINT_VIOLATION"


def test_rows_take_the_tables_shape(engine: Engine, tmp_path) -> None:
    rows = pa.table(
        {
            "s": pa.array([{"x": 1}, None], pa.struct([("x", pa.int32())])),
            "l": pa.array([[{"p": 1}], None], pa.list_(pa.struct([("p", pa.int16())]))),
            "m": pa.array(
                [[("k", {"v": 1})], None], pa.map_(pa.string(), pa.struct([("v", pa.int32())]))
            ),
            "B": pa.array([1, None], pa.int8()),
        }
    )
    schema = pa.schema(
        [
            ("new", pa.string()),
            ("b", pa.int64()),
            ("s", pa.struct([("y", pa.string()), ("x", pa.int64())])),
            ("l", pa.list_(pa.struct([("p", pa.int64()), ("q", pa.date32())]))),
            ("m", pa.map_(pa.string(), pa.struct([("v", pa.int64()), ("w", pa.string())]))),
        ]
    )
    frame = engine.spark.createDataFrame(rows)
    (file,) = write_frame(engine, frame, Destination(str(tmp_path), {}, schema, "x")).files
    assert pq.read_table(tmp_path / file.path).to_pylist() == [
        {
            "new": None,
            "b": 1,
            "s": {"y": None, "x": 1},
            "l": [{"p": 1, "q": None}],
            "m": [("k", {"v": 1, "w": None})],
        },
        {"new": None, "b": None, "s": None, "l": None, "m": None},
    ]


def test_large_partitions_become_several_files_of_several_row_groups(
    engine: Engine, tmp_path
) -> None:
    numbers = pa.table({"a": pc.random(60_000), "b": [str(i % 2) for i in range(60_000)]})
    result = written(
        engine,
        numbers,
        str(tmp_path),
        partition_by=("b",),
        file_bytes=100_000,
        group_bytes=50_000,
    )
    assert len(result.files) > 3
    assert sum(file.rows for file in result.files) == 60_000
    groups = [pq.read_metadata(tmp_path / file.path).num_row_groups for file in result.files]
    assert max(groups) > 1
    assert all((tmp_path / file.path).stat().st_size == file.size for file in result.files)


def test_many_partitions_need_few_open_files_and_little_memory(engine: Engine, tmp_path) -> None:
    rows = pa.table({"a": range(3000), "b": [i % 40 for i in range(3000)]})
    result = written(
        engine, rows, str(tmp_path), partition_by=("b",), open_files=5, buffer_bytes=1000
    )
    assert sum(file.rows for file in result.files) == 3000
    assert {file.partition["b"] for file in result.files} == {str(i) for i in range(40)}


def test_a_place_that_cannot_be_written_is_unavailable(engine: Engine) -> None:
    with pytest.raises(UnavailableError, match="/proc/nowhere"):
        written(engine, pa.table({"a": [1]}), "/proc/nowhere")


def test_a_schema_survives_the_way_to_arrow(engine: Engine) -> None:
    from deltalake import Schema

    spark = from_delta(Schema.from_arrow(ROWS.schema))
    assert from_delta(to_delta(spark)) == spark
    assert to_arrow(spark).names == ROWS.schema.names


def test_a_panic_of_the_engine_is_no_end_of_the_rows(tmp_path) -> None:
    class PanicError(BaseException):
        """What a panic of Rust's is in Python."""

    def rows():
        yield pa.RecordBatch.from_pydict({"n": [1]})
        raise PanicError("inconsistent types")

    target = Destination(str(tmp_path), {}, pa.schema([("n", pa.int64())]), "attempt")
    with pytest.raises(Exception, match="inconsistent types"):
        list(task(target)(rows()))
