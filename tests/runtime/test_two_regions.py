"""Two regions under random arrivals, limits, crashes, rivals and outages hold the same exact rows.

The oracle is a plain recomputation over all files that were ever landed.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from small_projects import Project, ok

from proa.engine import Engine
from proa.runtime import Runner, UpdateRequest
from proa.steps import Step, probing
from proa.testing import Fail, FaultProbe, Kill, Killed, LoseAnswer, When

PIPELINE = """
zone = spark.conf.get("landing_zone")

@dp.table
@dp.expect_or_drop("even or odd", "v IS NOT NULL")
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.maxFilesPerTrigger", {limit})
        .option("cloudFiles.schemaHints", "id long, v long")
        .load(zone)
    )

dp.create_streaming_table("silver")

@dp.append_flow(target="silver")
def even():
    return spark.readStream.table("bronze").filter("v % 2 = 0").select("id", "v")

@dp.append_flow(target="silver")
def odd():
    return spark.readStream.table("bronze").filter("v % 2 = 1").select("id", "v")

@dp.append_flow(target="silver", once=True)
def zero():
    return spark.range(1).selectExpr("id - 1 as id", "id as v")

@dp.materialized_view
def gold():
    return spark.read.table("silver").groupBy("v").agg(F.count("*").alias("n"))
"""

REGIONS = st.sampled_from(["east", "west"])
STEPS = st.sampled_from(
    [
        Step.DECLARED_PUT,
        Step.SCHEMA_PUT,
        Step.PLAN_PUT,
        Step.COMPUTE_WRITE,
        Step.TABLE_CREATE,
        Step.TABLE_EVOLVE,
        Step.COMMIT,
        Step.EVENTS_FLUSH,
        Step.RESET,
    ]
)
MOMENTS = st.integers(1, 5)
FAULTS = st.one_of(
    st.builds(Kill, STEPS, st.sampled_from(list(When)), MOMENTS),
    st.builds(Fail, STEPS, MOMENTS),
    st.builds(LoseAnswer, STEPS, MOMENTS),
)
ROWS = st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=1, max_size=4)


class TwoRegions(RuleBasedStateMachine):
    """The world: two regions that run one pipeline over copies of the same files."""

    engine: Engine

    @initialize(limit=st.integers(1, 3))
    def begin(self, limit: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.regions: dict[str, Project] = {}
        self.warm: dict[str, Runner] = {}
        self.missing: list[tuple[str, str]] = []
        self.files: dict[str, list[dict[str, int | None]]] = {}
        for name in ("east", "west"):
            source = Path(self.folder.name) / f"{name}-source"
            source.mkdir()
            base = str(Path(self.folder.name) / name)
            self.regions[name] = Project(source, base, self.engine)
        self.limit(limit)

    @rule(limit=st.integers(1, 4))
    def limit(self, limit: int) -> None:
        """The pipeline is deployed with another batch size; warm runners see it."""
        for project in self.regions.values():
            project.write(PIPELINE.replace("{limit}", str(limit)))

    @rule(values=ROWS, late=st.sampled_from([None, "east", "west"]), extra=st.booleans())
    def arrive(self, values: list[int | None], late: str | None, extra: bool) -> None:  # noqa: FBT001
        """A file reaches both landing zones; a zone that is down gets it later."""
        number = len(self.files)
        name = f"{(number * 7919) % 1000:03}-{number}.json"
        rows = [{"id": number * 10 + i, "v": v} for i, v in enumerate(values)]
        self.files[name] = rows
        landed = [row | ({"extra": "x"} if extra else {}) for row in rows]
        for region, project in self.regions.items():
            if region == late:
                self.missing.append((region, name))
            else:
                project.land(name, landed)

    @rule()
    def deliver(self) -> None:
        """A zone is back and gets what it missed."""
        for region, name in self.missing:
            self.regions[region].land(name, self.files[name])
        self.missing = []

    @rule(region=REGIONS)
    def run(self, region: str) -> None:
        if region not in self.warm:
            self.warm[region] = self.regions[region].runner()
        ok(self.warm[region].update())

    @rule(region=REGIONS)
    def restart(self, region: str) -> None:
        self.warm.pop(region, None)

    @rule(region=REGIONS)
    def rival(self, region: str) -> None:
        """Another runner on the region's storage, which the warm one does not know of."""
        ok(self.regions[region].run())

    @rule(region=REGIONS, fault=FAULTS, full=st.booleans())
    def crash(self, region: str, fault: Kill | Fail | LoseAnswer, full: bool) -> None:  # noqa: FBT001
        runner = self.warm.pop(region, None) or self.regions[region].runner()
        with contextlib.suppress(Killed), probing(FaultProbe(fault)):
            runner.update(UpdateRequest(full_refresh_all=full and fault.step is Step.RESET))

    def teardown(self) -> None:
        self.deliver()
        good = [row for rows in self.files.values() for row in rows if row["v"] is not None]
        silver = sorted([(-1, 0), *((row["id"], row["v"]) for row in good)], key=str)
        counts: dict[int, int] = {}
        for _, value in silver:
            counts[value] = counts.get(value, 0) + 1
        for project in self.regions.values():
            ok(project.run())
            if not self.files:
                continue
            assert project.rows("bronze", "id") == sorted((row["id"] for row in good), key=str)
            assert project.rows("silver", "id", "v") == silver
            assert project.rows("gold", "v", "n") == sorted(counts.items(), key=str)
        self.folder.cleanup()


@pytest.mark.usefixtures("project")
def test_two_regions_end_up_with_the_same_exact_rows(engines) -> None:
    TwoRegions.engine = engines({})
    run_state_machine_as_test(
        TwoRegions,
        settings=settings(
            max_examples=8,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


WIDE = """
zone = spark.conf.get("landing_zone")

@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.inferColumnTypes", "true").load(zone + "/orders")
        .select("*", F.col("_metadata.file_name").alias("file"))
    )

@dp.table
def silver():
    return spark.readStream.table("bronze").select("*", (F.col("id") + 1).alias("next"))

@dp.materialized_view
def gold():
    return spark.read.table("silver").selectExpr("*", "1 AS one")
"""


@pytest.mark.slow
def test_columns_have_one_order_however_often_a_region_ran(make) -> None:
    east, west = (make(name=name).write(WIDE) for name in ("east", "west"))
    shipments = (
        [{"id": 1, "at": {"x": 1}}],
        [{"id": 2, "at": {"x": 1, "y": 2}, "name": "b"}],
        [{"id": 3, "early": True, "at": {"a": 0, "y": 3}}],
    )
    for rows in shipments:
        for region in (east, west):
            region.ship("orders", rows)
        ok(east.run())
    ok(west.run())
    for table in ("bronze", "silver", "gold"):
        assert east.table(table).schema().to_json() == west.table(table).schema().to_json(), table
