"""Maintenance makes a storage smaller and changes no row, whenever and beside whatever it runs."""

import contextlib
from datetime import timedelta

import duckdb
import pytest
from deltalake import DeltaTable
from small_projects import Project, ok

from proa.clock import SystemClock
from proa.errors import SettingsError
from proa.landing.zone_check import unnamed_files
from proa.runtime import UpdateRequest
from proa.runtime.checkpoint import FOLD
from proa.runtime.context import Turn
from proa.runtime.event_rows import read_events
from proa.runtime.lineage import Lineage
from proa.runtime.maintenance import Upkeep, maintain
from proa.steps import Step, probing
from proa.storage import Store
from proa.testing import FakeClock, Fault, FaultProbe, Kill, Killed, When, every_fault

pytestmark = pytest.mark.slow

PIPELINE = """
@dp.table(partition_cols=["parity"])
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.maxFilesPerTrigger", 1).option("cloudFiles.schemaHints", "id long")
        .load(spark.conf.get("landing_zone"))
        .select("id", F.expr("id % 2").alias("parity"))
    )

@dp.table
def silver():
    return spark.readStream.option("maxFilesPerTrigger", 1).table("bronze").select("id")

@dp.materialized_view
def gold():
    return spark.read.table("silver").agg(F.sum("id").alias("total"), F.count("*").alias("n"))
"""
WEEK = timedelta(days=7)


def land(project: Project, first: int, end: int) -> None:
    for number in range(first, end):
        project.land(f"{number:04}.json", [{"id": 2 * number}, {"id": 2 * number + 1}])


def exact(project: Project, files: int) -> None:
    ids = sorted(range(2 * files), key=str)
    assert project.rows("bronze", "id", "parity") == sorted(((i, i % 2) for i in ids), key=str)
    assert project.rows("silver", "id") == ids
    assert project.rows("gold", "total", "n") == [(sum(ids), len(ids))]


def in_days(project: Project, days: float) -> Project:
    """The project, and that many days have passed since its files were written."""
    project.clock = FakeClock(SystemClock().now() + timedelta(days=days))
    return project


def upkeep(project: Project, **options) -> dict[str, Upkeep]:
    with project.runner() as runner:
        return {done.table: done for done in maintain(runner, **options)}


def data_files(project: Project, table: str) -> set[str]:
    store = Store.open(f"{project.storage}/tables/{table}", project.options)
    return {info.path for info in store.walk() if not info.path.startswith("_")}


@pytest.fixture
def shop(placed: Project) -> Project:
    placed.write(PIPELINE)
    land(placed, 0, 10)
    ok(placed.run())
    return placed


def test_small_files_become_few_and_streams_see_nothing_new(shop: Project) -> None:
    done = upkeep(shop)
    assert done["bronze"].compacted.before == 20
    assert len(shop.table("bronze").file_uris()) <= 4
    exact(shop, 10)
    result = ok(shop.run())
    assert [(f.flow, f.progress.batches) for f in result.flows] == [
        ("bronze", 0), ("silver", 0), ("gold", 0),
    ]  # fmt: skip
    land(shop, 10, 12)
    ok(shop.run())
    exact(shop, 12)
    assert upkeep(shop)["silver"].compacted.before == 0


def test_what_no_version_of_a_week_has_is_removed(shop: Project) -> None:
    upkeep(shop)
    land(shop, 10, 11)
    ok(shop.run())
    orphan = Store.open(f"{shop.storage}/tables/silver", shop.options)
    orphan.put("part-00001-of-nobody.parquet", b"x")
    before = data_files(shop, "bronze")
    assert {d.files.files for d in upkeep(in_days(shop, 6)).values()} == {0}
    done = upkeep(in_days(shop, 8))
    assert done["bronze"].files.files == 20
    assert done["silver"].files.files == 1
    assert done["gold"].files.files == 1
    assert len(before - data_files(shop, "bronze")) == 20
    exact(shop, 11)
    land(shop, 11, 13)
    ok(shop.run())
    exact(shop, 13)


def test_a_version_of_the_last_week_stays_readable(shop: Project) -> None:
    version = shop.table("bronze").version()
    before = shop.rows("bronze", version=version)
    upkeep(in_days(shop, 100), retention=timedelta(days=101))
    assert shop.rows("bronze", version=version) == before


def test_a_dry_run_says_what_would_be_done_and_does_nothing(shop: Project) -> None:
    in_days(shop, 8)
    everything = sorted(info.path for info in Store.open(shop.storage, shop.options).walk())
    planned = upkeep(shop, dry_run=True)
    assert planned["bronze"].compacted.before == 20
    assert sorted(i.path for i in Store.open(shop.storage, shop.options).walk()) == everything


def test_a_stream_that_fell_behind_finds_all_that_it_has_not_read(make) -> None:
    project = make().write(PIPELINE)
    land(project, 0, 3)
    ok(project.run())
    land(project, 3, 12)
    ok(project.run(refresh=["bronze"]))
    upkeep(project)
    done = upkeep(in_days(project, 400))
    assert done["bronze"].files.files == 6
    assert done["bronze"].log.files == 0
    ok(project.run())
    exact(project, 12)


@pytest.mark.parametrize("at", [1, 5, 20, 21])
def test_what_a_batch_that_was_planned_reads_stays(make, at: int) -> None:
    project = make().write(PIPELINE)
    land(project, 0, 10)
    with contextlib.suppress(Killed), probing(FaultProbe(Kill(Step.PLAN_PUT, When.AFTER, at))):
        project.runner().update(UpdateRequest())
    land(project, 10, 12)
    ok(project.run(refresh=["bronze"]))
    upkeep(project)
    upkeep(in_days(project, 400))
    ok(project.run())
    exact(project, 12)


def test_what_a_full_refresh_that_was_killed_has_planned_stays(make) -> None:
    project = make().write(PIPELINE)
    land(project, 0, 10)
    ok(project.run())
    with contextlib.suppress(Killed), probing(FaultProbe(Kill(Step.PLAN_PUT, When.AFTER))):
        project.runner().update(UpdateRequest(full_refresh=["silver"], refresh=[]))
    land(project, 10, 12)
    ok(project.run(refresh=["bronze"]))
    upkeep(project)
    upkeep(in_days(project, 400))
    ok(project.run())
    exact(project, 12)


@pytest.mark.parametrize(
    "fault",
    [
        *every_fault([Step.MAINTAIN_COMPACT, Step.MAINTAIN_DELETE, Step.COMPUTE_WRITE]),
        *every_fault([Step.MAINTAIN_DELETE], at=2),
    ],
    ids=str,
)
def test_maintenance_that_was_interrupted_is_finished_by_the_next(make, fault: Fault) -> None:
    project = make().write(PIPELINE)
    land(project, 0, 10)
    ok(project.run())
    probe = FaultProbe(fault)
    with contextlib.suppress(Killed, Exception), probing(probe):
        upkeep(project)
        upkeep(in_days(project, 8))
    assert probe.struck == [fault]
    exact(project, 10)
    upkeep(project)
    upkeep(in_days(project, 16))
    exact(project, 10)
    assert data_files(project, "bronze") == {
        uri.removeprefix(f"{project.storage}/tables/bronze/")
        for uri in project.table("bronze").file_uris()
    }
    land(project, 10, 12)
    ok(project.run())
    exact(project, 12)


def test_old_log_entries_and_plans_go_and_everything_goes_on(make) -> None:
    project = make().write(PIPELINE)
    files = 100 + 2 * FOLD
    land(project, 0, files)
    ok(project.run())
    log = f"{project.storage}/tables/bronze/_delta_log"
    done = upkeep(in_days(project, 29))
    assert done["bronze"].log.files == 0
    assert done["bronze"].plans.files == files // FOLD * FOLD - 128
    done = upkeep(in_days(project, 31))
    assert done["bronze"].log.files == 99
    assert not Store.open(log).exists(f"{0:020}.json")
    assert done["the event log"].log.files == 0
    exact(project, files)
    landed = {info.path for info in project.landing.walk()}
    held = Lineage(project.storage).files("gold")
    assert {path.rsplit("/", 1)[-1] for path in held} == landed
    land(project, files, files + 2)
    ok(project.run())
    exact(project, files + 2)


def test_after_a_full_refresh_the_old_generations_checkpoint_goes(make) -> None:
    project = make().write(PIPELINE)
    land(project, 0, 3)
    ok(project.run())
    ok(project.run(full_refresh_all=True))
    assert upkeep(project)["bronze"].plans.files == 0
    assert upkeep(in_days(project, 8))["bronze"].plans.files > 0
    checkpoints = Store.open(f"{project.storage}/checkpoints/bronze/bronze")
    assert {info.path.partition("/")[0] for info in checkpoints.walk()} == {"1"}
    land(project, 3, 5)
    ok(project.run())
    exact(project, 5)


def test_other_readers_read_what_was_compacted(make) -> None:
    project = make().write(PIPELINE)
    land(project, 0, 10)
    ok(project.run())
    upkeep(project)
    query = "SELECT parity, count(*), max(id) FROM t WHERE id >= 4 GROUP BY parity ORDER BY parity"
    with duckdb.connect() as db:
        db.register("t", project.table("bronze").to_pyarrow_dataset())
        assert db.execute(query).fetchall() == [(0, 8, 18), (1, 8, 19)]


def test_a_table_may_keep_its_files_longer(make) -> None:
    project = make().write(
        PIPELINE.replace(
            "@dp.table\n",
            '@dp.table(table_properties={"delta.deletedFileRetentionDuration": "interval 4 weeks"})\n',
        )
    )
    land(project, 0, 10)
    ok(project.run())
    upkeep(project)
    done = upkeep(in_days(project, 20))
    assert (done["bronze"].files.files, done["silver"].files.files) == (20, 0)


@pytest.mark.parametrize("hours", [0, 23])
def test_a_retention_that_could_hit_a_running_batch_is_refused(shop: Project, hours: int) -> None:
    with pytest.raises(SettingsError, match="at least 1 day"):
        upkeep(shop, retention=timedelta(hours=hours))


SINKS = """
dp.create_sink("table", "delta", {"path": spark.conf.get("out")})

@dp.append_flow(target="table")
def to_table():
    return spark.readStream.table("bronze").select("id")

@dp.foreach_batch_sink
def seen(df, batch_id):
    with open(spark.conf.get("out") + ".txt", "a") as file:
        file.writelines(f"{row.id}\\n" for row in df.collect())

@dp.append_flow(target="seen")
def to_function():
    return spark.readStream.table("bronze").select("id")
"""


def test_a_sink_that_was_held_back_for_long_gets_each_row_once(project: Project) -> None:
    project.configuration = {"out": str(project.folder / "out")}
    project.write(PIPELINE + SINKS)
    land(project, 0, 2)
    ok(project.run())
    probe = FaultProbe(Kill(Step.SINK_NOTE, When.BEFORE))
    land(project, 2, 3)
    with contextlib.suppress(Killed), probing(probe):
        project.run()
    for number in range(3, 9):
        land(project, number, number + 1)
        with project.runner(gate=lambda: Turn(1, "another region is active")) as runner:
            result = runner.update()
        assert result.error is None
    in_days(project, 90)
    with project.runner() as runner:
        done = {one.table: one for one in maintain(runner)}
    assert done["bronze"].compacted.before > 0
    assert done["seen"].files.files == 1
    ok(project.run())
    ids = list(range(18))
    written = DeltaTable(str(project.folder / "out")).to_pyarrow_table().column("id").to_pylist()
    assert sorted(written) == ids
    lines = (project.folder / "out.txt").read_text().split()
    assert sorted(map(int, set(lines))) == ids
    assert len(lines) == len(ids) + 2, "the batch that was not noted came again, and no other"


def test_files_that_no_manifest_names_are_told_in_the_event_log(make) -> None:
    project = make().write(
        PIPELINE.replace('get("landing_zone")', 'get("landing_zone") + "/orders"')
    )
    project.ship("orders", [{"id": 0}, {"id": 1}])
    ok(project.run())
    project.land("orders/stray.json", [{"id": 9}])
    with project.runner() as runner:
        list(maintain(runner, dry_run=True))
        assert unnamed_files(project.landing, "orders") == 0
        list(maintain(runner))
        url = runner.context.layout.events
    (event,) = [e for e in read_events(url, {}) if e["event_type"] == "zone_check"]
    assert (event["level"], "'stray.json'" in event["message"]) == ("WARN", True)
    assert unnamed_files(project.landing, "orders") == 1
    assert project.rows("bronze", "id") == [0, 1]
