"""A pipeline that depends on where it runs is refused, told of, or let through, as proa.yml says."""

import pytest
from small_projects import Project, ok

from proa.errors import PipelineError
from proa.graph.findings.finding import CLOCK
from proa.runtime import Runner, UpdateRequest, UpdateState
from proa.runtime.declared import read_declared
from proa.runtime.event_rows import read_events
from proa.testing import FakeClock

BRONZE = """
@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long, at timestamp, day date")
        .load(spark.conf.get("landing_zone")).drop("_rescued_data")
    )
"""
GOLD = """
@dp.view
def stamped():
    return spark.read.table("bronze").withColumn("seen", F.current_timestamp())

@dp.materialized_view
def gold():
    return spark.read.table("stamped").select("id", "seen")

@dp.materialized_view
def counted():
    return spark.read.table("bronze").agg(F.count("*").alias("n"))
"""
REGIONS = """
regions:
  east: {landing_zone: east/landing, storage: east/storage}
event_time: {table: bronze, column: AT}
"""


@pytest.fixture
def shop(project: Project) -> Project:
    project.write(BRONZE + GOLD)
    (project.folder / "spark-pipeline.yml").write_text(
        "name: shop\nstorage: data\nlibraries: [{glob: {include: pipeline.py}}]\n"
    )
    agree(project)
    project.base = str(project.folder / "east")
    project.land("a.json", [{"id": 1, "at": "2026-01-05T09:00:00Z"}, {"id": 2}])
    return project


def agree(project: Project, more: str = "") -> None:
    (project.folder / "proa.yml").write_text(REGIONS + more)


def runner(project: Project, heard: list | None = None) -> Runner:
    return Runner.from_project(
        project.folder,
        "east",
        engine=project.engine,
        clock=FakeClock(),
        listener=None if heard is None else heard.append,
    )


def told(heard: list) -> list[tuple[str, str]]:
    """What is said of findings, and not of how views are refreshed."""
    about = [e for e in heard if e.event_type == "planning_information"]
    return [(e.level, e.message) for e in about if "finding" in e.details[e.event_type]]


@pytest.mark.parametrize("asked", [{}, {"validate_only": True}], ids=["run", "check"])
def test_under_error_a_finding_is_refused_before_anything_runs(shop: Project, asked: dict) -> None:
    agree(shop, "dr_safety: error\n")
    heard: list = []
    result = runner(shop, heard).update(UpdateRequest(**asked))
    assert (result.state, result.flows) == (UpdateState.FAILED, ())
    assert isinstance(result.error, PipelineError)
    assert str(result.error) == (
        "[ENVIRONMENT_DEPENDENT] CLOCK: stamped.seen depends on current_timestamp(), and two regions"
        f" compute it at different times; {CLOCK.remedy}, or accept 'CLOCK:stamped' with a reason in"
        " proa.yml (pipeline.py:14)"
    )
    assert not shop.exists("bronze")
    assert [level for level, _ in told(heard)] == ["ERROR"]
    found = [e for e in read_events(f"{shop.storage}/system/events", {}) if e["level"] == "ERROR"]
    assert found[0]["details"]["planning_information"]["finding"]["code"] == "CLOCK"


@pytest.mark.slow
@pytest.mark.parametrize("said", ["", "dr_safety: warn\n"], ids=["unsaid", "warn"])
def test_under_warn_the_log_is_told_once_and_it_runs(shop: Project, said: str) -> None:
    agree(shop, said)
    heard: list = []
    running = runner(shop, heard)
    for _ in range(2):
        ok(running.update())
    assert [level for level, _ in told(heard)] == ["WARN"]
    assert shop.rows("gold", "id") == [1, 2]
    assert read_declared(shop.storage, {}).findings == ("CLOCK in stamped",)


@pytest.mark.parametrize(
    ("said", "findings"),
    [
        ("dr_safety: off\n", None),
        ("accept: [{finding: 'CLOCK:stamped', reason: people only}]\n", ()),
    ],
)
def test_what_is_accepted_or_not_looked_for_runs_without_a_word(
    shop: Project, said: str, findings: tuple[str, ...] | None
) -> None:
    agree(shop, said)
    heard: list = []
    ok(runner(shop, heard).update())
    assert told(heard) == []
    assert read_declared(shop.storage, {}).findings == findings


def test_without_a_region_nothing_is_compared_and_nothing_refused(shop: Project) -> None:
    shop.configuration = {"landing_zone": f"{shop.base}/landing"}
    ok(shop.run())
    assert shop.rows("gold", "id") == [1, 2]


@pytest.mark.slow
def test_a_view_over_a_clock_is_computed_again_though_nothing_is_new(shop: Project) -> None:
    ok(shop.run())
    before = shop.rows("gold", "seen")
    result = ok(shop.run())
    assert [(f.flow, f.progress.batches) for f in result.flows] == [
        ("bronze", 0),
        ("gold", 1),
        ("counted", 0),
    ]
    assert min(shop.rows("gold", "seen")) > max(before)


@pytest.mark.slow
def test_files_that_nobody_tracks_are_read_again(shop: Project) -> None:
    shop.write(
        f"""
        @dp.materialized_view
        def rates():
            return spark.read.json("{shop.base}/rates").select("rate")
        """,
        "rates.py",
    )
    (shop.folder / "east" / "rates").mkdir(parents=True)
    file = shop.folder / "east" / "rates" / "r.json"
    file.write_text('{"rate": 1}\n')
    ok(shop.run())
    file.write_text('{"rate": 2}\n')
    ok(shop.run())
    assert shop.rows("rates", "rate") == [2]


def test_the_event_log_says_when_the_events_of_a_flow_happened(shop: Project) -> None:
    agree(shop, "dr_safety: off\n")
    heard: list = []
    shop.land("b.json", [{"id": 3, "at": "2026-01-04T23:59:59.123456Z"}])
    ok(runner(shop, heard).update())
    spans = {
        e.origin.flow_name: e.details["flow_progress"].get("streaming_metrics")
        for e in heard
        if e.event_type == "flow_progress" and "is completed" in e.message
    }
    assert spans == {
        "bronze": {
            "event_time": {"min": "2026-01-04T23:59:59.123Z", "max": "2026-01-05T09:00:00.000Z"}
        },
        "gold": None,
        "counted": None,
    }


def test_the_event_log_knows_the_columns_of_every_table(shop: Project) -> None:
    agree(shop, "dr_safety: off\n")
    heard: list = []
    running = runner(shop, heard)
    ok(running.update())
    ok(running.update())
    columns: dict[str, list] = {}
    for event in heard:
        if event.event_type == "dataset_definition":
            schema = event.details["dataset_definition"].get("schema")
            names = None if schema is None else [column["name"] for column in schema]
            columns.setdefault(event.origin.dataset_name, []).append(names)
    assert columns == {
        "bronze": [None, ["at", "id", "day"], ["at", "id", "day"]],
        "gold": [None, ["id", "seen"], ["id", "seen"]],
        "counted": [None, ["n"], ["n"]],
    }
