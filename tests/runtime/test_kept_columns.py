"""What the engine said of a query's columns is told again, and never where it might say another thing now."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import types as t
from pyspark.sql.connect import proto
from small_projects import Project, ok

from proa.engine import Engine
from proa.engine.relations import empty_relation
from proa.errors import PipelineError
from proa.layout import COLUMNS
from proa.runtime import Runner, UpdateState
from proa.runtime.kept_columns import KeptColumns
from proa.steps import Step, probing
from proa.storage import Store
from proa.testing import FakeClock, Fault, FaultProbe, Killed, every_fault

PYTHON = """
@dp.table
@dp.expect("known", "id IS NOT NULL")
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long").load(spark.conf.get("landing_zone"))
    )
"""
SQL = "CREATE MATERIALIZED VIEW gold AS SELECT id, count(*) AS n FROM bronze GROUP BY id"
ID = t.StructType([t.StructField("id", t.LongType())])


@pytest.fixture(scope="module")
def engines():
    """An engine of its own: of one with functions that other tests have registered nothing is kept."""
    with Engine.start() as engine:
        yield lambda _options: engine


@pytest.fixture
def shop(project: Project) -> Project:
    project.write(PYTHON).write(SQL, "gold.sql")
    (project.folder / "spark-pipeline.yml").write_text(
        "name: shop\nstorage: data\nlibraries: [{glob: {include: pipeline.py}}, {glob: {include: gold.sql}}]\n"
    )
    (project.folder / "proa.yml").write_text(
        "regions: {east: {landing_zone: east/landing, storage: east/storage}}\n"
    )
    project.base = str(project.folder / "east")
    project.land("a.json", [{"id": 1}, {"id": 2}])
    return project


def update(shop: Project):
    """An update by a new process' runner: it knows nothing that is not written down."""
    return Runner.from_project(shop.folder, "east", engine=shop.engine, clock=FakeClock()).update()


def kept(shop: Project) -> dict:
    return json.loads(Store.open(shop.storage).get(COLUMNS))


def test_what_was_told_is_kept_and_only_what_the_pipeline_asks_now(shop):
    ok(update(shop))
    first = kept(shop)
    assert len(first["columns"]) == 3  # two queries and an expectation

    ok(update(shop))
    assert kept(shop) == first

    shop.write(SQL.replace("id, count(*) AS n", "id, count(*) AS m"), "gold.sql")
    ok(update(shop))
    assert len(kept(shop)["columns"]) == 3
    assert len(kept(shop)["columns"].keys() & first["columns"]) == 2


def test_a_query_that_became_wrong_is_refused(shop):
    ok(update(shop))
    shop.write(SQL.replace("SELECT id", "SELECT nothing"), "gold.sql")

    result = update(shop)

    assert result.state is UpdateState.FAILED
    assert isinstance(result.error, PipelineError)
    assert "nothing" in str(result.error)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b'{"format": 1}', b'{"format": 2, "columns": {"a": 1}}']
)
def test_what_cannot_be_read_counts_for_nothing_and_is_written_anew(shop, content):
    ok(update(shop))
    right = kept(shop)
    Store.open(shop.storage).put(COLUMNS, content)

    ok(update(shop))

    assert kept(shop) == right


@pytest.mark.parametrize("fault", every_fault([Step.COLUMNS_PUT]), ids=str)
def test_a_fault_while_it_is_written_loses_no_row(shop, fault: Fault):
    probe = FaultProbe(fault)
    with contextlib.suppress(Killed), probing(probe):
        update(shop)
    assert probe.struck == [fault]

    ok(update(shop))
    assert shop.rows("bronze", "id") == [1, 2]
    assert len(kept(shop)["columns"]) == 3


def again(tmp_path: Path, engine: Engine, relation) -> set[str]:
    """What is kept after an engine was asked for the columns of a plan."""
    store = Store.open(str(tmp_path / "storage"))
    columns = KeptColumns(store.url, {}, engine)
    assert columns.schema(relation) == engine.schema(relation)
    columns.keep()
    return set(json.loads(store.get(COLUMNS))["columns"]) if store.exists(COLUMNS) else set()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM parquet.`{file}`",
        "SELECT EXISTS (SELECT 1 FROM parquet.`{file}`) AS e",
        "WITH c AS (SELECT * FROM parquet.`{file}`) SELECT * FROM c",
        None,
    ],
)
def test_of_files_nothing_is_kept(tmp_path, engines, query):
    file = tmp_path / "f.parquet"
    pq.write_table(pa.table({"a": [1]}), file)
    relation = proto.Relation()
    if query is None:
        relation.filter.input.CopyFrom(engines({}).parquet([str(file)], ID))
        relation.filter.condition.expression_string.expression = "id > 0"
    else:
        relation.sql.query = query.format(file=file)

    assert again(tmp_path, engines({}), relation) == set()


def test_another_setting_gets_another_answer(tmp_path, engines):
    engine = engines({})
    relation = proto.Relation()
    relation.filter.input.CopyFrom(empty_relation(ID))
    relation.filter.condition.expression_string.expression = "id > 0"

    first = again(tmp_path, engine, relation)
    other = again(tmp_path, engine.using({"spark.sql.ansi.enabled": "false"}), relation)

    assert len(first) == len(other) == 1
    assert first != other
