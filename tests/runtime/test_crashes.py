"""Kill, refuse and lose the answer at every dangerous step: the rows come out exactly."""

import contextlib

import pytest
from small_projects import Project, ok

from proa.runtime import UpdateRequest
from proa.runtime.lineage import Lineage
from proa.steps import Step, probing
from proa.testing import Fault, FaultProbe, Kill, Killed, When, every_fault

PIPELINE = """
zone = spark.conf.get("landing_zone")

@dp.table
@dp.expect_or_drop("has a value", "v IS NOT NULL")
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.maxFilesPerTrigger", 2)
        .option("cloudFiles.schemaHints", "id long, v long")
        .load(f"{zone}/events")
    )

@dp.table
def silver():
    names = spark.read.table("names")
    return spark.readStream.table("bronze").join(names, "id", "left").select("id", "v", "name")

@dp.table
def names():
    return spark.readStream.format("cloudFiles").option("cloudFiles.format", "json").option(
        "cloudFiles.schemaHints", "id long, name string").load(f"{zone}/names")

dp.create_streaming_table("both")

@dp.append_flow(target="both")
def from_bronze():
    return spark.readStream.table("bronze").select("id", "v")

@dp.append_flow(target="both", once=True)
def seed():
    return spark.range(3).selectExpr("id + 1000 as id", "cast(0 as bigint) as v")

@dp.materialized_view
def gold():
    return spark.read.table("silver").groupBy("name").agg(F.sum("v").alias("total"), F.count("*").alias("n"))
"""

TABLES = ["bronze", "silver", "names", "both", "gold"]
STEPS = [
    Step.DECLARED_PUT,
    Step.SCHEMA_PUT,
    Step.PLAN_PUT,
    Step.COMPUTE_WRITE,
    Step.TABLE_CREATE,
    Step.COMMIT,
    Step.RESET,
    Step.EVENTS_FLUSH,
]


def landed(project: Project, first: int, last: int, *, extra: bool = False) -> None:
    for number in range(first, last):
        rows = [{"id": number * 10 + i, "v": None if i == 3 else i} for i in range(4)]
        if extra:
            rows[0]["more"] = "new"
        project.land(f"events/{number}.json", rows)


def exact(project: Project, files: int) -> None:
    """Compare all tables with a plain recomputation over all files."""
    ids = sorted((n * 10 + i for n in range(files) for i in range(3)), key=str)
    assert project.rows("bronze", "id") == ids
    assert project.rows("silver", "id") == ids
    assert project.rows("both", "id") == sorted([*ids, 1000, 1001, 1002], key=str)
    values = [(n * 10 + i, i) for n in range(files) for i in range(3)]
    named = [v for i, v in values if i in {0, 10}]
    others = [v for i, v in values if i not in {0, 10}]
    assert project.rows("gold", "name", "total", "n") == sorted(
        [("ten", sum(named), len(named)), (None, sum(others), len(others))], key=str
    )


def begin(project: Project) -> Project:
    project.write(PIPELINE)
    project.land("names/n.json", [{"id": 0, "name": "ten"}, {"id": 10, "name": "ten"}])
    landed(project, 0, 3)
    return project


def crash(project: Project, fault: Fault, **request) -> None:
    """An update that meets the fault; nobody cleans up."""
    probe = FaultProbe(fault)
    with contextlib.suppress(Killed), probing(probe):
        project.runner().update(UpdateRequest(**request))
    assert probe.struck == [fault]


def check(project: Project, fault: Fault) -> None:
    """One update with the fault, one without it, and every row is there once."""
    if fault.step is Step.RESET:
        ok(project.run())
        landed(project, 3, 5, extra=True)
        crash(project, fault, full_refresh_all=True)
    else:
        crash(project, fault)
        landed(project, 3, 5)
    ok(project.run())
    exact(project, 5)
    assert project.run().rows == 0


@pytest.mark.slow
@pytest.mark.parametrize("fault", every_fault(STEPS), ids=str)
def test_every_row_is_there_once_whatever_fails_where(project: Project, fault: Fault) -> None:
    check(begin(project), fault)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", every_fault([Step.PLAN_PUT, Step.COMPUTE_WRITE, Step.COMMIT], at=4), ids=str
)
def test_every_row_is_there_once_whatever_fails_later(project: Project, fault: Fault) -> None:
    check(begin(project), fault)


@pytest.mark.slow
@pytest.mark.parametrize("when", list(When))
def test_a_full_refresh_that_was_killed_is_finished_by_asking_again(
    project: Project, when: When
) -> None:
    begin(project)
    ok(project.run())
    crash(project, Kill(Step.RESET, when, at=2), full_refresh_all=True, update_id="u")
    ok(project.run(full_refresh_all=True, update_id="u"))
    exact(project, 3)
    assert {project.table(name).transaction_version("proa:generation") for name in TABLES} == {1}


@pytest.mark.slow
@pytest.mark.parametrize("fault", every_fault([Step.CHECKPOINT_COMPACT, Step.PLAN_FOLD]), ids=str)
def test_folding_what_is_known_loses_nothing(project: Project, fault: Fault) -> None:
    project.write(
        """
        @dp.table
        def bronze():
            return (
                spark.readStream.format("cloudFiles").option("cloudFiles.format", "text")
                .option("cloudFiles.maxFilesPerTrigger", 1).load(spark.conf.get("landing_zone"))
            )
        """
    )
    lines = [f"line {number:03}" for number in range(35)]
    for line in lines:
        project.landing.put(f"{line}.txt", line.encode())
    crash(project, fault)
    ok(project.run())
    assert project.rows("bronze", "value") == lines
    landed = {project.landing.url_of(f"{line}.txt") for line in lines}
    assert Lineage(project.storage).files("bronze") == landed
