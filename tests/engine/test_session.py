import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions
from pyspark.sql.types import (
    ArrayType,
    DateType,
    DecimalType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
)

from proa.engine import Engine, carry_errors, session
from proa.engine.parity.parity_table import decide
from proa.engine.parity.sql_queries import QueryReader
from proa.engine.parity.typist import Scope, Typist, World
from proa.engine.relations import dataframe, empty_relation, map_in_arrow, relation_of
from proa.engine.session import encoded_path, hadoop_path
from proa.errors import DataError, UnavailableError, UserError
from proa.settings import EngineSettings
from wires import Wire

SERVER = str(Path(__file__).parents[1] / "spark_server.py")
SCHEMA = StructType([StructField("a", LongType()), StructField("b", StringType())])


def test_files_are_read_as_the_schema_asked_for(engine: Engine, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([1], pa.int32())}), tmp_path / "x.parquet")
    relation = engine.parquet([str(tmp_path / "x.parquet")], SCHEMA)
    assert engine.arrow(engine.dataframe(relation)).to_pylist() == [{"a": 1, "b": None}]


@pytest.mark.parametrize("folder", ["a b", "50%", "[x]", "{y}", "*", "d=1", "ü", "%20", "#?"])
def test_no_character_of_a_path_has_a_meaning(engine: Engine, tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / folder / "x.parquet")
    relation = engine.parquet([str(tmp_path / folder / "x.parquet")], SCHEMA)
    assert engine.arrow(engine.dataframe(relation)).to_pylist() == [{"a": 1, "b": "x"}]


def test_an_empty_relation_has_the_columns_and_no_rows(engine: Engine) -> None:
    relation = engine.empty(SCHEMA)
    assert engine.schema(relation) == SCHEMA
    assert engine.arrow(engine.dataframe(relation)).num_rows == 0


def test_the_session_speaks_utc(engine: Engine) -> None:
    assert engine.spark.conf.get("spark.sql.session.timeZone") == "UTC"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expression", "condition", "said"),
    [
        ("missing", "UNRESOLVED_COLUMN", "there is no column 'missing' here"),
        ("1 +", "PARSE_SYNTAX_ERROR", "cannot read the query at"),
        ("no_such_function(1)", "UNRESOLVED_ROUTINE", r"no function no_such_function\(\)"),
        ("input_file_name()", "UNRESOLVED_ROUTINE", "read _metadata.file_path"),
        (
            "cast('x' as int)",
            "CAST_INVALID_INPUT",
            "cannot be cast to INT|a row cannot be computed: Cannot cast",
        ),
    ],
)
def test_a_wrong_query_is_the_users_error(
    engine: Engine, expression: str, condition: str, said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        engine.arrow(
            engine.dataframe(engine.empty(SCHEMA))
            .limit(1)
            .union(one(engine))
            .selectExpr(expression)
        )
    assert caught.value.condition == condition


NESTED = StructType(
    [
        StructField("a", LongType(), nullable=False),
        StructField("b", ArrayType(StructType([StructField("x", DecimalType(9, 2))]))),
        StructField("c", MapType(StringType(), DateType(), valueContainsNull=False)),
    ]
)


def test_a_schema_of_from_json_is_a_type_or_its_text(embedded: Engine) -> None:
    texts = embedded.spark.createDataFrame(
        [('{"a": 1, "b": [{"x": 2.5}], "c": {"k": "2026-01-02"}}',), ("{}",), ("no json",)], ["j"]
    )
    by_type = texts.select(functions.from_json("j", NESTED).alias("v"))
    by_text = texts.selectExpr(
        "from_json(j, 'a BIGINT, b ARRAY<STRUCT<x: DECIMAL(9, 2)>>, c MAP<STRING, DATE>') AS v"
    )
    first, second, third = embedded.arrow(by_type).to_pylist()
    assert first["v"]["a"] == 1
    assert second["v"] == third["v"] == {"a": None, "b": None, "c": None}
    assert embedded.arrow(by_text).to_pylist() == [first, second, third]


def test_two_texts_are_computed_as_numbers(embedded: Engine) -> None:
    texts = embedded.spark.createDataFrame([("7", "2", "x"), ("1.5", None, "")], ["u", "v", "w"])
    shown = texts.selectExpr("u / v AS a", "u + v AS b", "u - v AS c", "u * v AS d", "u % v AS e")
    whole = texts.limit(1).selectExpr("u div v AS f")
    assert embedded.arrow(shown).to_pylist() == [
        {"a": 3.5, "b": 9.0, "c": 5.0, "d": 14.0, "e": 1.0},
        dict.fromkeys("abcde"),
    ]
    assert embedded.arrow(whole).to_pylist() == [{"f": 3}]
    with pytest.raises(DataError, match="'x' of the type STRING cannot be cast to DOUBLE"):
        embedded.arrow(texts.limit(1).selectExpr("u / w"))


def test_a_pivot_needs_its_values(embedded: Engine) -> None:
    pivoted = one(embedded).groupBy("a").pivot("b").agg({"a": "sum"})
    with pytest.raises(UserError, match=r"pivot\(\) without values .*name them"):
        embedded.schema(relation_of(pivoted))
    named = one(embedded).groupBy("a").pivot("b", ["x"]).agg({"a": "sum"})
    assert embedded.schema(relation_of(named)).fieldNames() == ["a", "x"]


@pytest.mark.slow
def test_what_proa_raises_in_a_worker_arrives_as_what_it_is(engine: Engine) -> None:
    def fail(batches):
        with carry_errors():
            raise DataError("the file 'x' is broken; remove it", condition="BROKEN")
        yield from batches

    with pytest.raises(DataError, match=r"^the file 'x' is broken; remove it$") as caught:
        engine.arrow(one(engine).mapInArrow(fail, "a long"))
    assert caught.value.condition == "BROKEN"


def test_a_users_python_error_is_the_users_error_and_keeps_its_traceback(engine: Engine) -> None:
    def fail(batches):
        raise ValueError("who wrote this")
        yield from batches

    with pytest.raises(
        UserError, match=r"ValueError: who wrote this \(.*test_session.py:\d+\)\n  File"
    ):
        engine.arrow(one(engine).mapInArrow(fail, "a long"))


@pytest.mark.slow
def test_an_engine_that_is_not_there_is_unavailable() -> None:
    with (
        Engine.start(EngineSettings(remote="sc://127.0.0.1:1")) as nobody,
        pytest.raises(UnavailableError, match=r"'sc://127.0.0.1:1' does not answer"),
    ):
        _ = nobody.spark


def test_an_engine_can_be_used_again_after_it_was_closed() -> None:
    engine = Engine.start()
    first = engine.arrow(one(engine)).num_rows
    engine.close()
    again = engine.arrow(one(engine)).num_rows
    engine.close()
    engine.close()
    assert (first, again) == (1, 1)


def test_a_relation_survives_the_way_through_a_dataframe(engine: Engine) -> None:
    relation = engine.empty(SCHEMA)
    assert relation_of(engine.dataframe(relation)) == relation


def one(engine: Engine):
    return engine.spark.range(1).selectExpr("id as a", "'x' as b")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_a_server_that_was_started_anew_is_found_again() -> None:
    port = free_port()
    with Engine.start(EngineSettings(remote=f"sc://127.0.0.1:{port}")) as engine:
        with server_at(port):
            assert engine.arrow(one(engine)).num_rows == 1
        with pytest.raises(UnavailableError):
            engine.arrow(one(engine))
        with server_at(port):
            assert engine.arrow(one(engine)).num_rows == 1


@pytest.mark.slow
def test_a_connection_that_was_lost_without_a_word_is_made_anew(monkeypatch) -> None:
    """As a router forgets it: nothing comes back, and no end of it either."""
    monkeypatch.setattr(session, "ALIVE_EVERY_MS", 500)
    port = free_port()
    with server_at(port), closing(Wire(("127.0.0.1", port))) as wire:
        remote = EngineSettings(remote=f"sc://127.0.0.1:{wire.port}")
        with Engine.start(remote) as engine:
            assert engine.arrow(one(engine)).num_rows == 1
            wire.lose()
            assert engine.arrow(one(engine)).num_rows == 1


def test_signs_of_life_are_asked_for_no_more_often_than_spark_allows() -> None:
    assert session.ALIVE_EVERY_MS > 5 * 60 * 1000


@contextmanager
def server_at(port: int) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, SERVER, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("SELECT CAST('abc' AS INT)", "CAST_INVALID_INPUT"),
        ("SELECT CAST(concat('x', id) AS INT) FROM range(3)", "CAST_INVALID_INPUT"),
        ("SELECT CAST('maybe' AS BOOLEAN)", "CAST_INVALID_INPUT"),
        ("SELECT CAST('x' AS DATE)", "CAST_INVALID_INPUT"),
        ("SELECT CAST('x' AS TIMESTAMP)", "CAST_INVALID_INPUT"),
        ("SELECT CAST(id AS TINYINT) FROM range(1000)", "CAST_OVERFLOW"),
        ("SELECT CAST(1e10 AS INT)", "CAST_OVERFLOW"),
        ("SELECT CAST(99999.5 AS DECIMAL(3, 1))", "NUMERIC_VALUE_OUT_OF_RANGE"),
        ("SELECT 1 / (id - 1) FROM range(3)", "DIVIDE_BY_ZERO"),
        ("SELECT 5 % (id - 1) FROM range(3)", "REMAINDER_BY_ZERO"),
        ("SELECT array(1, 2)[5]", "INVALID_ARRAY_INDEX"),
        ("SELECT element_at(array(1), 5)", "INVALID_ARRAY_INDEX_IN_ELEMENT_AT"),
    ],
)
def test_a_row_that_cannot_be_computed_is_an_error_in_the_data(
    engine: Engine, query: str, condition: str
) -> None:
    with pytest.raises(DataError) as refused, engine.translating():
        engine.spark.sql(query).toArrow()
    assert refused.value.condition == condition


def test_apache_spark_takes_paths_as_they_are_but_for_globs():
    assert hadoop_path("/a b/k=%41/[1]*?.parquet") == "file:///a b/k=%41/\\[1\\]\\*\\?.parquet"
    assert hadoop_path("s3://b/x{y}") == "s3://b/x\\{y\\}"
    assert encoded_path("/a b/k=%41") == "file:///a%20b/k%3D%2541"


@pytest.mark.parametrize(
    "expression", ["from_unixtime(0)", "unix_timestamp('1970-01-01 00:00:00')"]
)
def test_seconds_are_left_to_the_engine_where_the_zone_is_not_utc(expression: str) -> None:
    """Proa's own functions read moments as UTC; the engine's know the session's zone."""
    for utc in (True, False):
        node = QueryReader(expression).whole()
        Typist(World(lambda _: [], lambda _: None, decide, utc=utc)).node(node, Scope())
        assert node.changed is utc


def test_a_frame_whose_columns_are_known_is_mapped_without_asking_the_engine(
    engine: Engine,
) -> None:
    rows = StructType([StructField("a.b", LongType()), StructField("c", StringType())])
    known = dataframe(empty_relation(rows), engine.spark)
    unknown = engine.spark.read.table("no_such_table")
    report = StructType([StructField("n", LongType())])

    def count(batches):
        yield pa.RecordBatch.from_pydict({"n": [sum(len(batch) for batch in batches)]})

    assert set(engine.arrow(map_in_arrow(known, count, report, rows.names))["n"].to_pylist()) <= {0}
    mapped = map_in_arrow(unknown, count, report, ["a"])  # no error: nothing was asked
    with pytest.raises(UserError, match="no_such_table"):
        engine.arrow(mapped)
    with pytest.raises(Exception, match="no_such_table"):
        map_in_arrow(unknown, count, report)
