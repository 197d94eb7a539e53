"""How far each region is, whatever else is lost."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proa.errors import DataError, UnavailableError
from proa.recovery import RegionStatus, SourceStatus, read_status
from proa.settings import EventTimeSettings
from proa.storage import Store

if TYPE_CHECKING:
    from two_region_project import Project


def look(project: Project) -> dict[str, RegionStatus]:
    return {one.region: one for one in read_status(project.settings, project.clock)}


def orders(status: RegionStatus) -> SourceStatus:
    assert status.error is None
    (found,) = status.sources
    return found


def numbers(status: RegionStatus) -> tuple[object, ...]:
    found = orders(status)
    return found.shipped, found.landed, found.processed, found.backlog_files, found.backlog_bytes


def test_shipped_landed_and_processed_are_told_for_each_region(anywhere: Project):
    project = anywhere
    project.arrive(1, 2, 3)
    project.ship()
    project.process("east", 1, 2, 3)
    project.process("west", 1)
    found = look(project)
    assert numbers(found["east"]) == (3, 3, 3, 0, 0)
    assert numbers(found["west"]) == (3, 3, 1, 2, 2)
    assert found["east"].latest_event == datetime(2023, 2, 28, 12, 3, tzinfo=UTC)


def test_processed_stops_at_the_first_gap(project: Project):
    project.arrive(1, 2, 3)
    project.ship()
    project.process("east", 1, 3)
    assert numbers(look(project)["east"]) == (3, 3, 1, 1, 1)


def test_lag_is_the_age_of_the_newest_shipment_until_nothing_is_missing(project: Project):
    project.arrive(1)
    project.ship()
    project.process("east", 1)
    project.clock.advance(100)
    project.arrive(2)
    project.ship()
    project.clock.advance(20)
    found = look(project)
    assert (found["east"].lag, found["west"].lag) == (120, 120)
    project.process("east", 2)
    assert look(project)["east"].lag == 0


def test_what_consumers_read_counts_not_what_it_is_made_from(project: Project):
    project.arrive(1, 2)
    project.ship()
    project.process("east", 1)
    from proa.autoloader.file_ref import FileRef
    from proa.runtime.checkpoint import FilesInput

    zone = project.settings.region("east").landing_zone
    rows = project.region("east").rows("bronze", 0).to_table()
    files = FilesInput((FileRef(f"{zone}/orders/2.json", 1, 0),))
    project.commit("east", "bronze", {"files:0": files}, rows)
    assert numbers(look(project)["east"]) == (2, 2, 1, 1, 1)


def test_a_region_before_its_first_run_has_processed_nothing(project: Project):
    project.arrive(1, 2)
    project.ship()
    assert numbers(look(project)["east"]) == (2, 2, 0, 2, 2)
    assert look(project)["east"].latest_event is None
    assert not Path(project.settings.region("east").storage).exists()


def test_a_lost_region_does_not_hide_the_other(project: Project, lose):
    project.arrive(1)
    project.ship()
    project.process("east", 1)
    lose("west")
    found = look(project)
    assert numbers(found["east"]) == (1, 1, 1, 0, 0)
    assert isinstance(found["west"].error, UnavailableError)
    assert not Path(project.base, "west").exists()


def test_without_the_source_the_zones_tell_the_order(project: Project, lose):
    project.arrive(1)
    project.ship()
    project.process("east", 1)
    lose("source")
    assert numbers(look(project)["east"]) == (None, 1, 1, 0, 0)


def test_a_zone_that_somebody_else_fills_is_judged_by_names(project: Project):
    zone = Store.open(project.settings.region("east").landing_zone)
    for name in ("dms/1.csv", "dms/_tmp.csv", "orders/1.json", "orders/2.json"):
        zone.put(name, b"1")
    project.process("east", 1)
    found = {one.source: one for one in look(project)["east"].sources}
    assert (found["orders"].manifest, found["orders"].backlog_files) == (False, 1)
    assert (found["dms"].manifest, found["dms"].backlog_files) == (False, 1)
    assert found["dms"].processed is None


def test_a_wrong_event_time_column_is_named(project: Project):
    project.arrive(1)
    project.ship()
    project.process("east", 1)
    wrong = EventTimeSettings(table="gold", column="when")
    project.settings = project.settings.model_copy(update={"event_time": wrong})
    error = look(project)["east"].error
    assert isinstance(error, DataError)
    assert "no column 'when'" in str(error)


@pytest.mark.parametrize("regions", [("west",), ("west", "east")])
def test_only_the_regions_asked_for_are_looked_at(project: Project, regions):
    project.ship()
    found = read_status(project.settings, project.clock, regions)
    assert tuple(one.region for one in found) == regions
