"""AUTO CDC from snapshots: a table, a view or a function says what there is, the target what was."""

from __future__ import annotations

import contextlib

import pytest
from small_projects import Project, ok

from proa.errors import SourceLocation
from proa.pipelines.definitions import Dataset, DatasetKind, Flow, SnapshotCdc
from proa.runtime import UpdateRequest
from proa.runtime.change_kinds import MergeSnapshots
from proa.runtime.checkpoint import Plan
from proa.steps import Step, probing
from proa.testing import FaultProbe, Killed, every_fault

FIRST = [(1, "Oaxaca"), (2, "Monterrey"), (3, "Tijuana")]
SECOND = [(2, "Carmel"), (3, "Los Angeles"), (4, "Death Valley"), (6, "Kings Canyon")]
HISTORY = ("userId", "city", "__START_AT", "__END_AT")

FUNCTION = """
import os
folder = spark.conf.get("landing_zone") + "/snapshots"

def next_snapshot(latest):
    version = 1 if latest is None else latest + 1
    path = f"{folder}/{version}"
    if not os.path.exists(path):
        return None
    return spark.read.format("json").schema("userId long, city string").load(path), version

dp.create_streaming_table("target")
"""
FLOW = "dp.create_auto_cdc_from_snapshot_flow('target', next_snapshot, ['userId']{more})\n"

VIEW = """
@dp.materialized_view
def users():
    return spark.read.format("json").schema("userId long, city string").load(
        spark.conf.get("landing_zone") + "/now/*.json")

dp.create_streaming_table("target")
"""


def land(project: Project, path: str, rows: list[tuple]) -> None:
    project.land(path, [dict(zip(("userId", "city"), row, strict=True)) for row in rows])


def target(project: Project, *columns: str) -> list[tuple]:
    return sorted(project.rows("target", *columns), key=str)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_functions_snapshots_become_a_history(project: Project, at_once) -> None:
    project.write(FUNCTION + FLOW.format(more=", stored_as_scd_type=2"))
    land(project, "snapshots/1/a.json", FIRST)
    if not at_once:
        ok(project.run())
        assert target(project, *HISTORY) == [(*row, 1, None) for row in FIRST]
    land(project, "snapshots/2/a.json", SECOND[:3])
    ok(project.run())
    expected = [
        (1, "Oaxaca", 1, 2),
        (2, "Carmel", 2, None),
        (2, "Monterrey", 1, 2),
        (3, "Los Angeles", 2, None),
        (3, "Tijuana", 1, 2),
        (4, "Death Valley", 2, None),
    ]
    assert target(project, *HISTORY) == expected
    assert ok(project.run()).rows == 0
    assert target(project, *HISTORY) == expected


def test_snapshots_that_were_applied_are_not_due_again() -> None:
    cdc = SnapshotCdc(("id",), next_snapshot=lambda _: None, versions=(1, 2))
    place = SourceLocation("a.py", 1)
    flow = Flow("f", "target", lambda: None, place, cdc=cdc)
    kind = MergeSnapshots(flow=flow, dataset=Dataset("target", DatasetKind.STREAMING_TABLE, place))
    plan = Plan(1, {}, "versions 1 and 2")
    assert kind.is_due(plan, None, any_new=False)
    assert not kind.is_due(plan, Plan(0, {}, "versions 1 and 2"), any_new=False)
    assert kind.is_due(plan, Plan(0, {}, "version 0"), any_new=False)


def test_with_the_older_names_and_scd_type_1_the_target_is_the_newest_snapshot(
    project: Project,
) -> None:
    project.write(
        "import dlt\n" + FUNCTION + "dlt.apply_changes_from_snapshot(target='target',"
        " snapshot_and_version=next_snapshot, keys=['userId'], stored_as_scd_type=1)"
    )
    land(project, "snapshots/1/a.json", FIRST)
    land(project, "snapshots/2/a.json", SECOND)
    ok(project.run())
    assert target(project, "userId", "city") == SECOND


@pytest.mark.slow
def test_a_snapshot_with_its_version_is_applied_once(project: Project) -> None:
    pair = "(spark.read.schema('userId long, city string').json(folder + '/{}/a.json'), {})"
    flow = "dp.create_auto_cdc_from_snapshot_flow('target', {}, ['userId'])\n"
    land(project, "snapshots/1/a.json", FIRST)
    land(project, "snapshots/2/a.json", SECOND)
    for folder, version, cities in ((1, 5, FIRST), (2, 6, SECOND), (1, 6, SECOND), (1, 4, SECOND)):
        project.write(FUNCTION + flow.format(pair.format(folder, version)))
        ok(project.run())
        assert target(project, "userId", "city") == cities


@pytest.mark.slow
def test_a_table_is_a_snapshot_whenever_it_changed(project: Project) -> None:
    project.write(VIEW + "dp.create_auto_cdc_from_snapshot_flow('target', 'users', ['userId'], 2)")
    land(project, "now/a.json", FIRST)
    ok(project.run())
    ok(project.run())
    assert [row[3] for row in target(project, *HISTORY)] == [None] * 3
    project.landing.delete("now/a.json")
    land(project, "now/b.json", SECOND)
    ok(project.run())
    rows = target(project, *HISTORY)
    assert [row[:2] for row in rows if row[3] is None] == SECOND
    assert sorted(row[:2] for row in rows if row[3] is not None) == FIRST
    ends, starts = {r[3] for r in rows if r[3]}, {r[2] for r in rows if r[3] is None}
    assert ends == starts
    assert len(ends) == 1


def test_a_snapshot_in_sql_holds_what_there_is(project: Project) -> None:
    project.write(VIEW)
    project.write("AUTO CDC INTO target FROM SNAPSHOT users KEYS (userId);", "flow.sql")
    land(project, "now/a.json", FIRST)
    ok(project.run())
    project.landing.delete("now/a.json")
    land(project, "now/b.json", SECOND)
    ok(project.run())
    assert target(project, "userId", "city") == SECOND


def test_columns_that_are_not_tracked_change_in_place(project: Project) -> None:
    more = ", stored_as_scd_type=2, track_history_except_column_list=['city']"
    project.write(FUNCTION + FLOW.format(more=more))
    land(project, "snapshots/1/a.json", FIRST)
    land(project, "snapshots/2/a.json", SECOND)
    ok(project.run())
    assert target(project, *HISTORY) == [
        (1, "Oaxaca", 1, 2),
        (2, "Carmel", 1, None),
        (3, "Los Angeles", 1, None),
        (4, "Death Valley", 2, None),
        (6, "Kings Canyon", 2, None),
    ]


def test_a_full_refresh_asks_for_all_snapshots_again(project: Project) -> None:
    project.write(FUNCTION + FLOW.format(more=", stored_as_scd_type=2"))
    land(project, "snapshots/1/a.json", FIRST)
    land(project, "snapshots/2/a.json", SECOND)
    ok(project.run())
    before = target(project, *HISTORY)
    ok(project.run(full_refresh_all=True))
    assert target(project, *HISTORY) == before


STEPS = [Step.PLAN_PUT, Step.COMPUTE_WRITE, Step.MEMORY_PUT, Step.COMMIT]


@pytest.mark.parametrize("fault", every_fault(STEPS), ids=str)
def test_each_snapshot_is_applied_once_whatever_fails_where(project: Project, fault) -> None:
    project.write(FUNCTION + FLOW.format(more=", stored_as_scd_type=2"))
    land(project, "snapshots/1/a.json", FIRST)
    with contextlib.suppress(Killed), probing(FaultProbe(fault)):
        project.runner().update(UpdateRequest())
    land(project, "snapshots/2/a.json", SECOND)
    ok(project.run())
    ok(project.run())
    assert sorted(r[:2] for r in target(project, *HISTORY) if r[3] is None) == SECOND
    assert [r for r in target(project, *HISTORY) if r[3] is not None] == [
        (row[0], row[1], 1, 2) for row in FIRST
    ]
