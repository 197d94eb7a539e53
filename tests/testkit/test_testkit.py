"""A dataset's query runs on rows that a test gives, in plain pytest and in no time."""

from __future__ import annotations

import datetime as dt
import time
from decimal import Decimal
from pathlib import Path

import pytest

from proa.errors import DataError, UserError
from proa.pipelines.scaffold import create_project
from proa.testkit import PipelineUnderTest


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> PipelineUnderTest:
    folder = tmp_path_factory.mktemp("projects")
    create_project("shop", folder)
    return PipelineUnderTest(folder / "shop")


def write(folder: Path, **files: str) -> PipelineUnderTest:
    (folder / "spark-pipeline.yml").write_text(
        "name: p\nstorage: storage\nlibraries: [{glob: {include: t/**}}]\n"
    )
    for name, text in files.items():
        path = folder / "t" / name.replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return PipelineUnderTest(folder)


def order(**columns: object) -> dict[str, object]:
    return {"order_id": "1", "customer": "ada", "amount": "3.50"} | columns


def test_rows_that_an_expectation_drops_are_dropped(shop):
    given = [order(), order(order_id=None), order(amount=0), order(customer=None)]
    rows = shop.rows("orders_clean", orders=given)
    assert [(row["order_id"], row["customer"], row["amount"]) for row in rows] == [
        ("1", "ada", Decimal("3.50")),
        ("1", None, Decimal("3.50")),
    ]
    assert shop.violations("orders_clean", orders=given) == {
        "has_id": 1,
        "has_amount": 1,
        "has_customer": 1,
    }


def test_a_table_in_between_is_given_or_computed(shop):
    at = dt.datetime(2026, 1, 5, 9, 0, tzinfo=dt.UTC).replace(tzinfo=None)
    day = {"day": dt.date(2026, 1, 5), "orders": 1, "revenue": Decimal("3.50")}
    (row,) = shop.rows("daily_sales", orders_clean=[order(event_timestamp=at)])
    assert {name: row[name] for name in day} == day
    orders = [order(event_timestamp="2026-01-05T09:00:00Z"), order(amount=0)]
    assert shop.rows("daily_sales", orders=orders) == [row]


def test_no_rows_are_rows(shop):
    assert shop.rows("orders_clean", orders=[]) == []


def test_the_second_call_takes_well_under_a_second(shop):
    shop.rows("daily_sales", orders=[order()])
    began = time.perf_counter()
    shop.rows("daily_sales", orders=[order()])
    assert time.perf_counter() - began < 1


def test_names_with_dots_and_paths_are_given_as_a_mapping(tmp_path):
    pipeline = write(
        tmp_path,
        a_sql="CREATE MATERIALIZED VIEW s.a AS SELECT id FROM read_files('/in/x', format => 'json');"
        "CREATE MATERIALIZED VIEW b AS SELECT id, name FROM s.a JOIN delta.`/d` d USING (id)",
    )
    rows = pipeline.rows("b", {"s.a": [{"id": 1}], "/d": [{"id": 1, "name": "x"}]})
    assert rows == [{"id": 1, "name": "x"}]
    assert pipeline.rows("s.a", {"/in/x": [{"id": 2}]}) == [{"id": 2}]


def test_files_have_what_the_auto_loader_adds(tmp_path):
    pipeline = write(
        tmp_path,
        a_py="import dlt\n@dlt.table\ndef a():\n"
        "    files = spark.readStream.format('cloudFiles').option('cloudFiles.format', 'json')\n"
        "    frame = files.option('cloudFiles.schemaHints', 'n decimal(9,2)').load('/landing/x')\n"
        "    return frame.select('n', '_rescued_data', '_metadata.file_name')\n",
    )
    rows = [{"n": "1.5"}, {"n": None, "_rescued_data": "{}", "_metadata": {"file_name": "f"}}]
    assert pipeline.rows("a", x=rows) == [
        {"n": Decimal("1.50"), "_rescued_data": None, "file_name": None},
        {"n": None, "_rescued_data": "{}", "file_name": "f"},
    ]


def test_flows_of_one_table_are_put_together(tmp_path):
    text = (
        "CREATE STREAMING TABLE a; CREATE STREAMING TABLE c AS SELECT * FROM STREAM a;"
        + "".join(
            f"CREATE FLOW {name} AS INSERT INTO a BY NAME SELECT * FROM STREAM"
            f" read_files('/in/{name}', format => 'json', schema => 'id int');"
            for name in "xy"
        )
    )
    pipeline = write(tmp_path, a_sql=text)
    found = pipeline.rows("c", x=[{"id": 1}], y=[{"id": 2}])
    assert sorted(row["id"] for row in found) == [1, 2]  # flows have no order between them


def test_a_rule_that_fails_the_update_fails_the_test(tmp_path):
    pipeline = write(
        tmp_path,
        a_sql="CREATE MATERIALIZED VIEW a (CONSTRAINT c EXPECT (id > 0) ON VIOLATION FAIL UPDATE)"
        " AS SELECT id FROM read_files('/in', format => 'json', schema => 'id int')",
    )
    assert pipeline.rows("a", {"/in": [{"id": 1}]}) == [{"id": 1}]
    with pytest.raises(DataError, match="'c'"):
        pipeline.rows("a", {"/in": [{"id": 0}]})


@pytest.mark.parametrize(
    ("dataset", "given", "message"),
    [
        ("orders_claen", {"orders": []}, "did you mean 'orders_clean'"),
        ("orders_clean", {}, "reads files of 'orders'; give the test its rows"),
        ("orders_clean", {"orders": [], "daily_sales": []}, "does not read 'daily_sales'"),
        (
            "daily_sales",
            {"orders_clean": [{"nope": 1}]},
            "a column 'nope', and the dataset has none",
        ),
        ("daily_sales", {"orders_clean": [{"amount": "much"}]}, "'amount' cannot be"),
    ],
)
def test_a_test_that_is_wrong_is_told_so(shop, dataset, given, message):
    with pytest.raises(UserError, match=message):
        shop.rows(dataset, given)


def test_what_the_order_of_shipments_decides_is_not_guessed(tmp_path):
    pipeline = write(
        tmp_path,
        a_sql="""
        CREATE STREAMING TABLE bronze AS SELECT * FROM STREAM read_files(
            '/x', format => 'json', schema => 'id bigint, ts timestamp');
        CREATE STREAMING TABLE ids AS SELECT DISTINCT id FROM STREAM bronze;
        CREATE STREAMING TABLE hours AS SELECT window.start, count(*) AS n
        FROM STREAM bronze WATERMARK ts DELAY OF INTERVAL 1 HOUR GROUP BY window(ts, '1 hour');
        """,
    )
    rows = [{"id": 1}, {"id": 1}]
    assert len(pipeline.rows("ids", bronze=rows)) == 1
    with pytest.raises(UserError, match="order of shipments"):
        pipeline.rows("hours", bronze=rows)
