"""Wrong data stop every region at the same shipment, with everything before it in the tables.

One region runs after each shipment, one now and then, one once. The oracle is the first of them: it
never has to cut a batch.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_projects import Project, ok

from proa.runtime.checkpoint import Checkpoint, Plan, cut_of, cut_transaction
from proa.runtime.lineage import Lineage
from proa.steps import Step, probing
from proa.storage import Store
from proa.testing import FaultProbe, Killed, every_fault

PIPELINE = """
zone = spark.conf.get("landing_zone")

@dp.table
{rule}
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.inferColumnTypes", "true")
        .option("cloudFiles.maxFilesPerTrigger", {most})
        .option("cloudFiles.schemaHints", "id long, v long")
        {options}
        .load(zone + "/s").select({columns})
    )

@dp.table
def silver():
    return spark.readStream.table("bronze").select("*", (F.col("id") + 1).alias("next"))

@dp.materialized_view
def gold():
    return spark.read.table("silver").groupBy("v").agg(F.count("*").alias("n"))
"""
FAIL = '@dp.expect_or_fail("good", "v >= 0")'
CAST = "'*', F.expr('100 div v').alias('share')"
TABLES = ("bronze", "silver", "gold")


def write(project: Project, *, rule: str = "", options: str = "", columns: str = "'*'", most=100):
    return project.write(PIPELINE.format(rule=rule, options=options, columns=columns, most=most))


def contents(project: Project) -> dict[str, Any]:
    """The tables' columns and rows."""
    return {
        name: (project.table(name).schema().to_json(), project.rows(name))
        for name in TABLES
        if project.exists(name)
    }


def through(project: Project) -> Any:
    """The raw files in each table, as lineage tells them."""
    lineage = Lineage(project.storage)
    return {
        name: sorted(Path(path).name for path in lineage.files(name))
        for name in TABLES
        if project.exists(name)
    }


def compare(regions: list[Project]) -> None:
    first = regions[0]
    for other in regions[1:]:
        assert contents(other) == contents(first)
        assert through(other) == through(first)


def fails(project: Project) -> str:
    result = project.run()
    assert result.error is not None
    return str(result.error)


SHIPMENTS = st.lists(
    st.lists(st.sampled_from([-1, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 3]), min_size=1, max_size=2),
    min_size=3,
    max_size=8,
)
WRONG = st.sampled_from(["rule", "file", "row", "python"])


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.slow
def test_regions_stop_at_the_same_shipment_and_go_on_once_it_is_mended(engines, data) -> None:
    wrong, made = data.draw(WRONG), data.draw(SHIPMENTS)
    given_, mended = {
        "rule": ({"rule": FAIL}, {}),
        "file": ({}, {"options": ".option('ignoreCorruptFiles', 'true')"}),
        "row": ({"columns": CAST}, {"columns": CAST.replace("100 div v", "try_divide(100, v)")}),
        "python": ({"columns": "'*', F.udf(lambda v: 1 // v)('v').alias('share')"}, {}),
    }[wrong]
    most = data.draw(st.sampled_from([2, 100]))
    with tempfile.TemporaryDirectory() as folder:
        regions = []
        for name in ("each", "some", "once"):
            source = Path(folder) / f"{name}-source"
            source.mkdir()
            project = Project(source, str(Path(folder) / name), engines({}))
            regions.append(write(project, most=most, **given_))
        for number, values in enumerate(made):
            rows: list[dict[str, Any]] = [{"id": number, "v": value} for value in values]
            if number % 3 == 2:
                rows[0][f"new{number}"] = True
            for project in regions:
                if wrong == "file" and -1 in values:
                    project.ship_bytes("s", b'{"id": 1, "v"', "json.gz")
                else:
                    project.ship("s", rows)
            regions[0].run()
            if data.draw(st.booleans()):
                regions[1].run()
        for project in regions:
            project.run()
        compare(regions)
        if wrong == "python":
            return
        for project in regions:
            ok(write(project, most=most, **mended).run())
        compare(regions)


@pytest.fixture
def stopped(region) -> Project:
    """A region with six shipments, of which the fifth breaks a rule and brings a column."""
    project = write(region("p", text="", sql=""), rule=FAIL)
    for number in range(6):
        extra = {"late": 1} if number == 5 else {}
        project.ship("s", [{"id": number, "v": -1 if number == 4 else number, **extra}])
    return project


def test_the_error_names_the_shipment_and_what_comes_before_is_committed(stopped) -> None:
    said = fails(stopped)
    assert "in shipment 5 ('00005.json')" in said
    assert stopped.rows("bronze", "id") == [0, 1, 2, 3]
    assert stopped.rows("gold", "n") == [1, 1, 1, 1]
    assert "late" not in [f.name for f in stopped.table("bronze").schema().fields]
    before = stopped.table("bronze").version()
    assert "in shipment 5" in fails(stopped)
    assert stopped.table("bronze").version() == before
    ok(write(stopped).run())
    assert stopped.rows("bronze", "id") == [0, 1, 2, 3, 4, 5]
    assert through(stopped)["gold"] == [f"{n:05d}.json" for n in range(1, 7)]
    ok(stopped.run(full_refresh_all=True))
    assert stopped.rows("bronze", "id") == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("fault", list(every_fault([Step.PLAN_PUT, Step.COMMIT])), ids=str)
@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_crash_while_a_batch_is_cut_counts_no_row_twice(stopped, fault, moment) -> None:
    fault = replace(fault, at=moment)
    with contextlib.suppress(Killed), probing(FaultProbe(fault)):
        stopped.run()
    fails(stopped)
    assert stopped.rows("bronze", "id") == [0, 1, 2, 3]
    assert through(stopped)["bronze"] == [f"{n:05d}.json" for n in range(1, 5)]
    ok(write(stopped).run())
    assert stopped.rows("bronze", "id") == [0, 1, 2, 3, 4, 5]
    assert stopped.rows("silver", "id") == [0, 1, 2, 3, 4, 5]


class Rival:
    """A probe that does something in the middle of the first step of a kind."""

    def __init__(self, at: Step, number: int, act: Callable[[], Any]) -> None:
        self._at, self._left, self._act = at, number, act

    def before(self, step: Step) -> None:
        if step is self._at:
            self._left -= 1
            if self._left == 0:
                self._act()

    def after(self, step: Step) -> None:
        pass


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_runner_that_can_do_the_whole_batch_and_one_that_cuts_it_count_no_row_twice(
    stopped, number: int
) -> None:
    """The rival knows the rule by which the batch fails, the other does not; one of them is first."""

    def cut() -> None:
        write(stopped, rule=FAIL)
        fails(stopped)
        write(stopped)

    write(stopped)
    with probing(Rival(Step.COMMIT, number, cut)):
        stopped.run()
    ok(stopped.run())
    assert stopped.rows("bronze", "id") == [0, 1, 2, 3, 4, 5]
    assert stopped.rows("silver", "id") == [0, 1, 2, 3, 4, 5]
    assert through(stopped)["gold"] == [f"{n:05d}.json" for n in range(1, 7)]


OTHERS = """
zone = spark.conf.get("landing_zone")

dp.create_streaming_table("newest")

@dp.view
def changes():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.inferColumnTypes", "true").load(zone + "/s")
        .select("*", F.expr("{share}").alias("share"))
    )

dp.create_auto_cdc_flow(
    target="newest", source="changes", keys=["v"], sequence_by="id", stored_as_scd_type=1
)

@dp.table
def totals():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long, v long").load(zone + "/s")
        .groupBy("v").agg(F.sum(F.expr("{share}")).alias("n"))
    )

@dp.materialized_view
def sums():
    return spark.sql(
        "SELECT *, {share} AS share FROM"
        " read_files('" + zone + "/s', format => 'json', schemaHints => 'id long, v long')"
    )
"""


def test_changes_groups_and_views_of_files_stop_there_too(region) -> None:
    each, once = (region(name, text="", sql="") for name in ("each", "once"))
    names = ("newest", "totals", "sums")
    for number, value in enumerate([1, 2, 1, 2, 0, 3]):
        for project in (each, once):
            project.write(OTHERS.format(share="100 div v"))
            project.ship("s", [{"id": number, "v": value, f"new{number}": 1}])
        each.run()
    fails(once)
    for name in names:
        assert once.table(name).schema().to_json() == each.table(name).schema().to_json()
        assert once.rows(name) == each.rows(name)
    assert len(once.rows("sums")) == 4
    for project in (each, once):
        ok(project.write(OTHERS.format(share="CAST(try_divide(100, v) AS BIGINT)")).run())
    for name in names:
        assert once.table(name).schema().to_json() == each.table(name).schema().to_json()
        assert once.rows(name) == each.rows(name)
    assert len(once.rows("sums")) == 6


def test_cut_plans_are_read_from_folds_as_they_were_committed(tmp_path) -> None:
    found = Checkpoint(Store.open(str(tmp_path)), fold=4, factor=2)
    cuts = {number: number % 3 for number in range(9)}
    for number, cut in cuts.items():
        for each in range(cut + 1):
            found.put(Plan(number, {}, f"cut {each}", cut=each))
        found.put(Plan(number, {}, "never committed", cut=cut + 1))
        assert found.read(number) == Plan(number, {}, "never committed", cut=cut + 1)
        if number < 8:
            found.settle(number, cut)
        found.mark_committed(number)
    expected = [Plan(number, {}, f"cut {cut}", cut=cut) for number, cut in cuts.items()]
    assert found.folded_count() == 8
    assert found.plans(8, cuts[8]) == expected
    assert [found.committed_plan(n, cuts[8] if n == 8 else None) for n in cuts] == expected
    for number, plan in enumerate(expected):
        version = cut_transaction("app", plan).get("app:cut")
        assert cut_of(number, version) == plan.cut
        assert cut_of(number + 1, version) == 0
