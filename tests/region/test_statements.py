"""SQL statements: real ones, through the warehouse's process."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import io
import json
import urllib.error
import urllib.request

import pyarrow as pa
import pytest
from databricks.sdk.errors import InvalidParameterValue, NotFound
from databricks.sdk.service.sql import (
    Disposition,
    Format,
    StatementParameterListItem,
    StatementState,
)
from deltalake import write_deltalake

from proa.http.api_errors import InvalidParameterError
from proa.region.statements.guard import Shape, guard_statement
from proa.region.statements.statements import IDLE_S
from proa.runtime.declared import DeclaredPipeline, DeclaredTable, write_declared

TABLES = [
    {"catalog": None, "schema": "shop", "name": "gold_table"},
    {"catalog": "main", "schema": None, "name": "plain"},
]


IN_S = [{"catalog": None, "schema": "s", "name": "u"}]


def asked(text, parameters=(), tables=()):
    """What the engine is asked for a statement."""
    return guard_statement(text, parameters, tables).sql


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def warehouse(serve, lake, tmp_path_factory):
    folder = lake
    table = pa.table(
        {
            "id": [1, 2, 3],
            "name": ["a", "b'", None],
            "price": [decimal.Decimal("1.50"), None, decimal.Decimal("-2.25")],
            "at": pa.array([dt.datetime(2023, 2, 28, 13, tzinfo=dt.UTC)] * 3),
            "tags": [["x"], [], None],
        }
    )
    write_deltalake(folder / "tables" / "gold_table", table)
    write_deltalake(folder / "tables" / "sales.orders", table.select(["id"]))
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_deltalake(elsewhere / "placed", table.select(["name"]))
    places = {name: str(elsewhere / name) for name in ("placed", "never_computed")}
    tables = {name: DeclaredTable((), path=path) for name, path in places.items()}
    write_declared(str(folder), {}, DeclaredPipeline(tables))
    with serve(tmp_path_factory.mktemp("region"), None, workers=1, warm_workers=1) as running:
        w = running.client()
        w.pipelines.create(name="shop", storage=str(folder), target="shop")
        yield w, next(iter(w.warehouses.list())).id


@pytest.fixture
def query(warehouse):
    w, warehouse_id = warehouse

    def ask(text, **more):
        more = {"schema": "shop", "wait_timeout": "30s", **more}
        return w.statement_execution.execute_statement(text, warehouse_id, **more)

    return ask


def test_the_seeds_question_is_answered(query):
    found = query("Select max(at) from gold_table")
    assert found.status.state is StatementState.SUCCEEDED
    assert found.result.data_array == [["2023-02-28T13:00:00.000Z"]]


def test_every_cell_is_text_or_null_and_every_type_is_named(query):
    found = query("select * from shop.gold_table order by id")
    assert [(c.name, c.type_text) for c in found.manifest.schema.columns] == [
        ("id", "BIGINT"),
        ("name", "STRING"),
        ("price", "DECIMAL(3,2)"),
        ("at", "TIMESTAMP"),
        ("tags", "ARRAY<STRING>"),
    ]
    assert found.result.data_array[0] == ["1", "a", "1.50", "2023-02-28T13:00:00.000Z", '["x"]']
    assert found.result.data_array[2][1] is None


def test_parameters_are_values_never_sql(query):
    found = query(
        "select id from gold_table where name = :name or id >= :least order by id",
        parameters=[
            StatementParameterListItem("name", value="b' or 1=1 --"),
            StatementParameterListItem("least", value="3", type="INT"),
        ],
    )
    assert found.result.data_array == [["3"]]
    found = query(
        "select id from gold_table where name = :name",
        parameters=[StatementParameterListItem("name", value="b'")],
    )
    assert found.result.data_array == [["2"]]


def test_tables_of_several_parts_are_in_their_schema(query):
    assert query("select count(*) from sales.orders").result.data_array == [["3"]]


def test_tables_at_places_of_their_own_are_read_shown_and_listed(query, warehouse):
    assert query("select count(name) from placed").result.data_array == [["2"]]
    assert query("describe table placed").result.data_array == [["name", "string", None]]
    listed = {table.name for table in warehouse[0].tables.list("hive_metastore", "shop")}
    assert {"gold_table", "placed"} <= listed
    assert "never_computed" not in listed


def test_names_are_found_in_any_case_and_a_wrong_one_is_named_with_the_nearest(query):
    assert query("select count(*) from Shop.GOLD_table").result.data_array == [["3"]]
    found = query("select * from gold_tabel")
    assert found.status.state is StatementState.FAILED
    assert "there is no table 'gold_tabel' in this region" in found.status.error.message
    assert "shop.gold_table" in found.status.error.message


def test_a_table_that_lacks_a_file_is_refused_and_not_answered_without_it(query, lake):
    table = lake / "tables" / "broken"
    write_deltalake(table, pa.table({"n": [1]}))
    write_deltalake(table, pa.table({"n": [2]}), mode="append")
    next(table.glob("*.parquet")).unlink()
    found = query("select count(n) from broken")
    assert found.status.state is StatementState.FAILED
    assert "belongs to a table and is gone" in found.status.error.message


def test_a_limit_truncates_and_says_so(query):
    found = query("select id from gold_table order by id", row_limit=2)
    assert (found.manifest.truncated, found.result.data_array) == (True, [["1"], ["2"]])


def test_many_rows_come_in_chunks(query, warehouse):
    found = query("select id from range(12000)")
    assert found.manifest.total_chunk_count == 3
    last = warehouse[0].statement_execution.get_statement_result_chunk_n(found.statement_id, 2)
    assert (last.row_offset, last.row_count, last.next_chunk_index) == (10000, 2000, None)


def test_a_wrong_statement_fails_with_200_and_the_engines_words(query):
    found = query("select nothing from gold_table")
    assert found.status.state is StatementState.FAILED
    assert "nothing" in found.status.error.message


@pytest.mark.parametrize(
    "text",
    [
        "insert into gold_table values (1)",
        "drop table gold_table",
        "create table x as select 1",
        "delete from gold_table",
        "update gold_table set id = 1",
        "merge into gold_table using x on true when matched then delete",
        "truncate table gold_table",
        "optimize gold_table",
        "vacuum gold_table",
        "select 1; drop table gold_table",
        "with x as (select 1) insert into gold_table select * from x",
        "select * from parquet.`/etc/passwd`",
        "select * from csv.`relative.csv`",
        "select * from arrow.x",
        "select (select max(_c0) from text.`proa.yml`)",
        "select * from other.shop.gold_table",
        "select * from identifier('csv.`/etc/passwd`')",
        "select * from identifier('csv.' || 'x')",
        "explain select * from csv.`/etc/passwd`",
        "describe csv.`/etc/passwd`",
        "describe query select * from csv.`/etc/passwd`",
        "show columns in csv.`/etc/passwd`",
        "explain analyze insert into shop.gold_table select * from shop.gold_table",
        "explain analyze create table shop.x as select 1",
        "explain insert into shop.gold_table values (1)",
        "/* /* */ insert into gold_table values (1) -- */ ; drop table gold_table",
        "show tables; drop table gold_table",
        "execute immediate 'drop table gold_table'",
        "select * from read_files('/etc')",
        "set x = 1",
        "use other",
        "alter table gold_table add columns (x int)",
        "copy into gold_table from '/x'",
        "select * from stream(gold_table)",
        "select java_method('java.lang.System', 'exit', 1)",
        "with unused as (select * from csv.`/etc/passwd`) select 1",
        "select * from gold_table, lateral (select * from csv.`/etc/passwd`)",
        "select * from values (1) t(a) where exists (table csv.`/etc/passwd`)",
        "cache table gold_table",
        "",
    ],
)
def test_a_statement_reads_tables_and_does_nothing_else(text):
    with pytest.raises(InvalidParameterError):
        guard_statement(text, [], TABLES)


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "with csv as (select 1) select * from csv",
        "show tables",
        "values (1)",
        "select * from SHOP.gold_table join default.plain",
        "explain extended select 1",
        "describe function abs",
        "select /*+ broadcast(a) */ ';'",
    ],
)
def test_reading_is_let_through(text):
    assert guard_statement(text, [], TABLES).sql == text
    assert guard_statement(f"-- first\n{text} ; -- last", [], TABLES).sql == text


def test_nobody_sees_a_comment_but_the_asker():
    # Where comments nest, this selects; where they do not, it would write.
    assert asked("/* /* */ insert into t values (1) -- */ select 1") == "select 1"
    assert asked("select 1/* a */+ 2 -- b") == "select 1 + 2"
    assert asked("select '/* a */', `--b` from t") == "select '/* a */', `--b` from t"


def test_an_identifier_is_a_name_whatever_is_in_it():
    parameters = [{"name": "t", "value": "shop.gold_table"}]
    found = guard_statement("select * from identifier(:t)", parameters, TABLES)
    assert found.sql == "select * from `shop`.`gold_table`"


@pytest.mark.parametrize("text", ["desc {}", "describe table extended {}", "describe formatted {}"])
def test_describing_a_table_asks_for_its_columns(text):
    found = guard_statement(text.format("shop.gold_table"), [], TABLES)
    assert (found.sql, found.shape) == ("select * from shop.gold_table", Shape.SCHEMA)


def test_a_table_tells_its_columns(query):
    rows = query("describe gold_table").result.data_array
    assert rows[2:] == [
        ["price", "decimal(3,2)", None],
        ["at", "timestamp", None],
        ["tags", "array<string>", None],
    ]
    names = query("show columns in shop.gold_table").result.data_array
    assert names == [["id"], ["name"], ["price"], ["at"], ["tags"]]


def test_columns_of_one_name_keep_their_values(query):
    found = query("select a.id, b.id, a.name as id from gold_table a join gold_table b on b.id = 3")
    assert min(found.result.data_array) == ["1", "3", "a"]


def test_nested_values_are_json_and_types_keep_the_names_of_fields(query):
    found = query(
        "select map(1, array(true, null)), named_struct('Day', date'2024-01-02', 'n', 1.50),"
        " cast(1.1 as float), cast('nan' as double), interval '36' hour"
    )
    assert found.result.data_array == [
        [
            '{"1":[true,null]}',
            '{"Day":"2024-01-02","n":"1.50"}',
            "1.1",
            "NaN",
            "1 12:00:00.000000000",
        ]
    ]
    assert [c.type_text for c in found.manifest.schema.columns[:2]] == [
        "MAP<INT, ARRAY<BOOLEAN>>",
        "STRUCT<Day: DATE, n: DECIMAL(3,2)>",
    ]


def test_a_schema_is_of_one_statement_only(query):
    assert query("select count(*) from gold_table").result.data_array == [["3"]]
    found = query("select count(*) from gold_table", schema=None)
    assert found.status.state is StatementState.FAILED


def test_a_table_made_anew_elsewhere_is_the_one_that_is_read(warehouse, query, tmp_path):
    w, _ = warehouse
    for number in (1, 2):
        folder = tmp_path / str(number)
        write_deltalake(folder / "tables" / "moving", pa.table({"n": [number]}))
        made = w.pipelines.create(name="moving", storage=str(folder), target="moves")
        for _ in range(8):  # whichever of the warehouse's engines answers
            assert query("select n from moves.moving").result.data_array == [[str(number)]]
        w.pipelines.delete(made.pipeline_id)
    assert query("select n from moves.moving").status.state is StatementState.FAILED


@pytest.mark.parametrize("unit", ["DAY", "hour", "MINUTE TO SECOND"])
def test_a_parameter_may_be_an_interval(unit):
    parameters = [{"name": "i", "value": "1", "type": f"INTERVAL {unit}"}]
    assert asked("select :i", parameters) == f"select INTERVAL '1' {unit}"


def test_what_looks_like_a_marker_and_is_none_stays():
    text = "select ':a', c:field.x, '\\':a' from t -- :a\nwhere x = :a"
    assert (
        asked(text, [{"name": "a", "value": "1", "type": "INT"}])
        == "select ':a', c:field.x, '\\':a' from t where x = CAST('1' AS INT)"
    )
    with pytest.raises(InvalidParameterError, match="marker :b"):
        asked("select :b")


def test_a_catalog_in_front_is_the_regions_one():
    text = "select main.shop.t.x, a.b.c, 'main.x.y' from `main`.shop.t join hive_metastore.s.u"
    expected = "select shop.t.x, a.b.c, 'main.x.y' from shop.t join s.u"
    assert (
        asked(text, tables=[{"catalog": "main", "schema": "shop", "name": "t"}, *IN_S]) == expected
    )


def test_asking_later_for_the_answer(query, warehouse):
    found = query("select 1 as one", wait_timeout="0s")
    later = warehouse[0].statement_execution.get_statement(found.statement_id)
    assert later.status.state in {StatementState.RUNNING, StatementState.SUCCEEDED}
    warehouse[0].statement_execution.cancel_execution(found.statement_id)
    with pytest.raises(NotFound):
        warehouse[0].statement_execution.get_statement("nothing")
    with pytest.raises(InvalidParameterValue):
        query("select 1", wait_timeout="1s")


def test_a_warehouse_that_was_idle_may_end_after_the_next_has_begun(still):
    statements = still.region.statements
    first = statements.execute("select 1")
    old = still.workers.begun[0]
    old.say("answer", id=first.statement_id, columns=[], chunks=[], truncated=False)
    still.pass_time(IDLE_S + 1)
    assert old.stopped
    second = statements.execute("select 2")
    old.end("COMPLETED")
    third = statements.execute("select 3")
    assert len(still.workers.begun) == 2
    still.workers.begun[1].end("CRASHED", error="it died")
    assert [item.state for item in (first, second, third)] == ["SUCCEEDED", "FAILED", "FAILED"]
    assert second.error == "it died"


def test_a_warehouse_without_a_process_says_so(still):
    def nobody(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    still.workers.start = nobody
    found = still.region.statements.execute("select 1")
    assert (found.state, "no process could be started" in found.error) == ("FAILED", True)


def fetch(link):
    """A result by its link, without any token."""
    with urllib.request.urlopen(link, timeout=20) as answer:
        return answer.read()


def external(query, text, kind, **more):
    """(the statement, its chunks as bytes, in order)."""
    found = query(text, disposition=Disposition.EXTERNAL_LINKS, format=kind, **more)
    return found, [fetch(found.result.external_links[0].external_link)] if found.result else []


def test_results_come_as_arrow_by_links_that_need_no_token(query):
    found, chunks = external(
        query, "select * from shop.gold_table order by id", Format.ARROW_STREAM
    )
    table = pa.ipc.open_stream(chunks[0]).read_all()
    assert table.column("id").to_pylist() == [1, 2, 3]
    assert str(table.schema.field("price").type) == "decimal128(3, 2)"
    link = found.result.external_links[0]
    assert (link.row_count, link.byte_count) == (3, len(chunks[0]))
    assert found.manifest.total_byte_count == len(chunks[0])


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        (Format.JSON_ARRAY, json.loads),
        (Format.CSV, lambda data: list(csv.reader(io.StringIO(data.decode())))[1:]),
    ],
)
def test_results_come_as_text_by_links(query, kind, read):
    _, chunks = external(query, "select id, name from shop.gold_table where id < 3", kind)
    assert read(chunks[0]) == [["1", "a"], ["2", "b'"]]


def test_large_results_come_in_chunks_that_follow_one_another(query, warehouse):
    found, chunks = external(query, "select id from range(250000)", Format.ARROW_STREAM)
    assert found.manifest.total_chunk_count == 3
    while (index := found.result.external_links[0].next_chunk_index) is not None:
        found.result = warehouse[0].statement_execution.get_statement_result_chunk_n(
            found.statement_id, index
        )
        chunks.append(fetch(found.result.external_links[0].external_link))
    rows = [pa.ipc.open_stream(chunk).read_all().num_rows for chunk in chunks]
    assert sum(rows) == 250_000


def test_a_link_is_good_for_its_chunk_only(query):
    found, _ = external(query, "select 1 as a", Format.ARROW_STREAM)
    link = found.result.external_links[0].external_link
    for wrong in (
        link.replace("/0?", "/1?"),
        link[:-1] + ("0" if link[-1] != "0" else "1"),
        link.replace("until=", "until=9"),
    ):
        with pytest.raises(urllib.error.HTTPError) as raised:
            fetch(wrong)
        raised.value.close()
        assert raised.value.code == 403


def test_limits_hold_for_files_too_and_no_rows_are_one_empty_chunk(query):
    found, chunks = external(query, "select id from range(10)", Format.ARROW_STREAM, row_limit=4)
    assert found.manifest.truncated
    assert pa.ipc.open_stream(chunks[0]).read_all().num_rows == 4
    found, chunks = external(query, "select id from range(0)", Format.ARROW_STREAM)
    assert (found.manifest.total_row_count, found.manifest.truncated) == (0, False)
    assert pa.ipc.open_stream(chunks[0]).read_all().schema.names == ["id"]
    found, chunks = external(query, "describe shop.gold_table", Format.ARROW_STREAM)
    assert pa.ipc.open_stream(chunks[0]).read_all().column("col_name").to_pylist()[0] == "id"


def test_arrow_in_line_is_refused_with_what_to_do(query):
    with pytest.raises(InvalidParameterValue, match="EXTERNAL_LINKS"):
        query("select 1", format=Format.ARROW_STREAM)
