"""SQL statements: real ones, through the warehouse's process."""

from __future__ import annotations

import datetime as dt
import decimal

import pyarrow as pa
import pytest
from databricks.sdk.errors import InvalidParameterValue, NotFound
from databricks.sdk.service.sql import StatementParameterListItem, StatementState
from deltalake import write_deltalake

from proa.region.errors import InvalidParameterError
from proa.region.sql import bound, in_one_catalog, reading
from proa.region.statements import IDLE_S


@pytest.fixture(scope="module")
def warehouse(serve, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lake")
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
        "select * from read_files('/etc')",
        "set x = 1",
        "use other",
        "alter table gold_table add columns (x int)",
        "copy into gold_table from '/x'",
        "cache table gold_table",
        "",
    ],
)
def test_a_statement_cannot_write(text):
    with pytest.raises(InvalidParameterError):
        reading(text)


@pytest.mark.parametrize(
    "text", ["select 1", "with x as (select 1) select * from x;", "show tables", "values (1)"]
)
def test_reading_is_let_through(text):
    assert reading(text) == text.rstrip(";")


def test_what_looks_like_a_marker_and_is_none_stays():
    text = "select ':a', c:field.x, '\\':a' from t -- :a\nwhere x = :a"
    assert (
        bound(text, [{"name": "a", "value": "1", "type": "INT"}])
        == text.removesuffix(":a") + "CAST('1' AS INT)"
    )
    with pytest.raises(InvalidParameterError, match="marker :b"):
        bound("select :b", [])


def test_a_catalog_in_front_is_the_regions_one():
    text = "select main.shop.t.x, a.b.c, 'main.x.y' from `main`.shop.t join hive_metastore.s.u"
    expected = "select shop.t.x, a.b.c, 'main.x.y' from shop.t join s.u"
    assert in_one_catalog(text, {"main"}) == expected


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
