"""Materialized views that follow tables which change: the rows of the whole computation, always."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_projects import Project, ok

from proa.runtime import UpdateRequest
from proa.runtime.event import Event
from proa.runtime.queries import Queries, StoredTables
from proa.steps import Step, probing
from proa.testing import FaultProbe, Kill, Killed, LoseAnswer, When

TABLES = """
def files(name, hints):
    zone = spark.conf.get("landing_zone")
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", hints).load(f"{zone}/{name}").drop("_rescued_data")
    )

@dp.table
def changes():
    return files("changes", "id long, k string, v long, f double, d string, gone boolean, all_gone boolean, n long")

@dp.table
def names():
    return files("names", "k string, name string")

for scd in (1, 2):
    dp.create_streaming_table(f"t{scd}", table_properties=PROPERTIES)
    dp.create_auto_cdc_flow(
        f"t{scd}", "changes", ["id"], "n", apply_as_deletes=F.expr("gone"),
        except_column_list=["gone", "all_gone", "n"], stored_as_scd_type=scd,
        **({"apply_as_truncates": F.expr("all_gone")} if scd == 1 else {}))
"""
VIEWS = {
    "sums": "SELECT k, sum(v) AS s, count(*) AS n, count(v) AS c, min(v) AS lo, max(v) AS hi FROM t1 GROUP BY k",
    "only_sums": "SELECT k, sum(v) AS s, count_if(v > 1) AS n FROM t1 WHERE v IS NULL OR v <> 2 GROUP BY k",
    "money": "SELECT k, sum(CAST(v AS DECIMAL(30, 2))) AS s FROM t1 GROUP BY k",
    "least": "SELECT k, to_date(d) AS day, min(v) AS lo FROM t1 GROUP BY k, to_date(d)",
    "averages": "SELECT k, avg(f) AS f, count(DISTINCT v) AS n FROM t1 GROUP BY k HAVING count(*) > 1",
    "rows": "SELECT id, upper(k) AS k, v * 2 AS w FROM t1 WHERE v > 0",
    "without_key": "SELECT k, v FROM t1 WHERE v > 0",
    "current": "SELECT id, v, f FROM t2 WHERE __END_AT IS NULL",
    "history": "SELECT id, count(*) AS n FROM t2 GROUP BY id",
    "landed": "SELECT id, v FROM changes WHERE NOT gone",
    "joined": "SELECT t.id, t.v, x.name FROM t1 t LEFT JOIN (SELECT k, max(name) AS name FROM names GROUP BY k) x ON t.k = x.k",
    "by_name": "SELECT x.k, count(*) AS n, sum(t.v) AS s FROM t1 t JOIN names x ON t.k = x.k GROUP BY x.k",
    "newest": "SELECT id, k, v FROM t2 QUALIFY row_number() OVER (PARTITION BY id ORDER BY __START_AT DESC) = 1",
    "both": "SELECT id, v FROM t1 UNION ALL SELECT id, v FROM t2",
    "twice": "SELECT a.id, b.v FROM t1 a JOIN t1 b ON a.id = b.v",
    "everything": "SELECT count(*) AS n, sum(v) AS s FROM t1",
    "above": "SELECT s, count(*) AS n FROM sums GROUP BY s",
}
PROJECT = TABLES.replace("PROPERTIES", '{"delta.enableChangeDataFeed": "true"}')


def declare(project: Project, names: list[str], text: str = PROJECT) -> Project:
    project.write(text)
    views = [f"CREATE OR REFRESH MATERIALIZED VIEW {name} AS {VIEWS[name]};" for name in names]
    return project.write("\n".join(views), "views.sql")


def update(project: Project, **request: Any) -> dict[str, str]:
    """How each view was refreshed by an update."""
    heard: list[Event] = []
    with project.runner(listener=heard.append) as runner:
        ok(runner.update(UpdateRequest(**request)))
    told = [e for e in heard if e.event_type == "planning_information"]
    return {
        e.origin.dataset_name: e.details["planning_information"]["refresh"]["technique"]
        for e in told
        if "refresh" in e.details["planning_information"]
    }


def rows_of(table: Any) -> list[str]:
    return sorted(json.dumps(row, default=str) for row in table.to_pylist())


def assert_equal_to_whole(project: Project, names: list[str]) -> None:
    queries = Queries(project.engine, StoredTables(project.storage, project.options))
    for name in names:
        there = rows_of(project.table(name).to_pyarrow_table())
        assert there == rows_of(queries.arrow(VIEWS[name])), name


EVENTS = st.builds(
    dict,
    id=st.integers(0, 5),
    k=st.sampled_from(["a", "b", "c", None]),
    v=st.sampled_from([-1, 0, 1, 2, 3, None]),
    f=st.sampled_from([0.0, -0.0, 1.5, None]),
    d=st.sampled_from(["2026-01-01", "2026-01-02 10:00:00", None]),
    gone=st.sampled_from([False, False, False, True]),
    all_gone=st.sampled_from([False] * 9 + [True]),
)
NAMES = st.builds(dict, k=st.sampled_from(["a", "b", "c"]), name=st.sampled_from(["x", "y"]))


@pytest.mark.slow
@pytest.mark.parametrize("records", ["true", "false"])
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    batches=st.lists(
        st.tuples(st.lists(EVENTS, min_size=1, max_size=8), st.lists(NAMES, max_size=1)),
        min_size=3,
        max_size=3,
    )
)
def test_views_are_the_whole_computation_after_any_changes(
    make: Any, tmp_path_factory: pytest.TempPathFactory, records: str, batches: list[Any]
) -> None:
    project = make(name=tmp_path_factory.mktemp("views").name)
    declare(project, list(VIEWS), PROJECT.replace('"true"', f'"{records}"'))
    number = 0
    for events, names in batches:
        ordered = []
        for event in events:
            number += 1
            ordered.append({**event, "n": number})
        project.land(f"changes/{number}.json", ordered)
        project.land(f"names/{number}.json", names or [{"k": "d", "name": "z"}])
        update(project)
        assert_equal_to_whole(project, list(VIEWS))


def land(project: Project, number: int, rows: list[dict[str, Any]]) -> None:
    ordered = [
        {"k": "a", "v": 1, "gone": False, "all_gone": False, **row, "n": 10 * number + place}
        for place, row in enumerate(rows)
    ]
    project.land(f"changes/{number}.json", ordered)


@pytest.mark.slow
def test_each_view_is_refreshed_as_its_query_allows(project: Project) -> None:
    names = ["sums", "money", "rows", "averages", "everything", "landed", "newest", "above"]
    declare(project, names)
    project.land("names/1.json", [{"k": "a", "name": "x"}])
    land(project, 1, [{"id": 1}, {"id": 2, "k": None, "v": 2}, {"id": 3, "k": "b", "v": 3}])
    assert set(update(project).values()) == {"COMPLETE_RECOMPUTE"}
    land(project, 2, [{"id": 1, "v": 5}, {"id": 2, "gone": True}, {"id": 4, "k": "b"}])
    assert update(project) == {
        "sums": "GROUP_AGGREGATE",
        "money": "GROUP_AGGREGATE",
        "rows": "ROW_BASED",
        "averages": "ROW_BASED",
        "everything": "COMPLETE_RECOMPUTE",
        "landed": "APPEND_ONLY",
        "newest": "ROW_BASED",
        "above": "GROUP_AGGREGATE",
    }
    assert_equal_to_whole(project, names)
    commit = project.table("sums").history(1)[0]
    assert commit["operation"] == "MERGE"
    assert commit["proa"]["refresh"]["technique"] == "GROUP_AGGREGATE"
    assert update(project) == {}
    # A change that was applied before: the table has a version more and no row is another.
    land(project, 0, [{"id": 1}])
    assert update(project)["sums"] == "NO_OP"
    assert update(project, full_refresh=["sums"])["sums"] == "COMPLETE_RECOMPUTE"
    assert_equal_to_whole(project, names)


@pytest.mark.slow
def test_a_view_in_an_object_store_is_refreshed_as_one_on_disk(make: Any, s3_location: Any) -> None:
    project = declare(make(s3_location), ["sums", "rows", "landed"])
    project.land("names/1.json", [{"k": "a", "name": "x"}])
    land(project, 1, [{"id": 1}, {"id": 2, "k": None, "v": 2}, {"id": 3, "k": "b", "v": 3}])
    update(project)
    land(project, 2, [{"id": 1, "v": 5}, {"id": 2, "gone": True}, {"id": 4, "k": "b"}])
    how = update(project)
    assert how == {"sums": "GROUP_AGGREGATE", "rows": "ROW_BASED", "landed": "APPEND_ONLY"}
    assert_equal_to_whole(project, ["sums", "rows", "landed"])


def test_a_view_whose_query_is_another_is_computed_whole(project: Project) -> None:
    declare(project, ["rows"])
    project.land("names/1.json", [{"k": "a", "name": "x"}])
    land(project, 1, [{"id": 1}, {"id": 2, "v": 4}])
    update(project)
    project.write(
        "CREATE OR REFRESH MATERIALIZED VIEW rows AS SELECT id, v FROM t1 WHERE v > 1", "views.sql"
    )
    assert update(project) == {"rows": "COMPLETE_RECOMPUTE"}
    assert project.rows("rows", "id", "v") == [(2, 4)]


@pytest.mark.slow
def test_a_view_that_somebody_else_changed_is_computed_whole(project: Project) -> None:
    declare(project, ["rows"])
    project.land("names/1.json", [{"k": "a", "name": "x"}])
    land(project, 1, [{"id": 1}, {"id": 2, "v": 4}])
    update(project)
    project.table("rows").delete("id = 1")
    land(project, 2, [{"id": 3}])
    assert update(project) == {"rows": "COMPLETE_RECOMPUTE"}
    assert_equal_to_whole(project, ["rows"])


@pytest.mark.slow
def test_what_a_refresh_of_parts_changed_is_in_the_views_feed(project: Project) -> None:
    declare(project, [])
    project.write(
        'CREATE OR REFRESH MATERIALIZED VIEW sums TBLPROPERTIES ("delta.enableChangeDataFeed" = "true")'
        f" AS {VIEWS['sums']}",
        "views.sql",
    )
    project.land("names/1.json", [{"k": "a", "name": "x"}])
    land(project, 1, [{"id": 1}, {"id": 2, "k": "b", "v": 2}])
    update(project)
    land(project, 2, [{"id": 1, "v": 5}])
    assert update(project) == {"sums": "GROUP_AGGREGATE"}
    table = project.table("sums")
    feed = table.load_cdf(starting_version=table.version(), ending_version=table.version())
    rows = pa.table(feed.read_all()).to_pylist()
    assert sorted((r["_change_type"], r["k"], r["s"]) for r in rows) == [
        ("delete", "a", 1),
        ("insert", "a", 5),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("step", [Step.PLAN_PUT, Step.COMPUTE_WRITE, Step.COMMIT])
@pytest.mark.parametrize("moment", [1, 3, 5, 8])
def test_a_crash_in_a_refresh_leaves_what_was_or_what_is(
    project: Project, step: Step, moment: int
) -> None:
    names = ["sums", "rows", "newest"]
    declare(project, names)
    project.land("names/1.json", [{"k": "a", "name": "x"}])
    land(project, 1, [{"id": 1}, {"id": 2, "k": None, "v": 2}, {"id": 3, "k": "b", "v": 3}])
    update(project)
    for number, fault in enumerate(
        (
            Kill(step, When.BEFORE, moment),
            Kill(step, When.AFTER, moment),
            LoseAnswer(step, moment),
        ),
        2,
    ):
        land(
            project,
            number,
            [{"id": number, "v": 5}, {"id": 1, "v": number}, {"id": 3, "gone": True}],
        )
        with contextlib.suppress(Killed), probing(FaultProbe(fault)):
            project.run()
    update(project)
    assert_equal_to_whole(project, names)
