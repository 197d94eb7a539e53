"""Has a region processed every event from before the outage? Yes, or what is missing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from proa.errors import SettingsError, UnavailableError
from proa.landing import Shipper, open_source, open_zones
from proa.recovery import CaughtUp, read_caught_up
from proa.storage import Store
from proa.testing import FakeClock

if TYPE_CHECKING:
    from two_region_project import Project


def ask(project: Project, region: str = "west", as_of: datetime | None = None) -> CaughtUp:
    as_of = as_of or project.clock.now()
    return read_caught_up(project.settings, region, as_of, project.clock)


def outage(project: Project) -> datetime:
    """Two files shipped before the outage, one after it; returns when it was."""
    now = Store.open(project.settings.sources["orders"].path, project.options)
    project.arrive(1, 2)
    written = now.head("2.json").modified
    project.clock.advance((written - project.clock.now()).total_seconds() + 60)
    project.ship()
    moment = project.clock.now()
    project.clock.advance(60)
    project.arrive(3)
    project.ship()
    return moment


@pytest.mark.slow
def test_every_file_from_before_the_outage_must_be_processed(anywhere: Project):
    project = anywhere
    moment = outage(project)
    project.process("west", 1)
    answer = ask(project, as_of=moment)
    assert not answer.caught_up
    assert answer.sentence == (
        f"west is not caught up as of {moment.isoformat()}: orders is processed through file 1 of 2,"
        " file 2 ('2.json') is the first that is missing in the table 'bronze';"
        " the latest event in its tables is 2023-02-28T12:01:00+00:00"
    )
    project.process("west", 2)
    answer = ask(project, as_of=moment)
    assert answer.caught_up
    assert answer.sentence == (
        f"west is caught up as of {moment.isoformat()}: orders is processed through file 2,"
        " 2 were shipped by then; the latest event in its tables is 2023-02-28T12:02:00+00:00"
    )
    assert not ask(project).caught_up


def test_a_missing_file_in_the_middle_is_not_hidden_by_later_events(project: Project):
    moment = outage(project)
    project.process("west", 1, 3)
    answer = ask(project, as_of=moment)
    assert (answer.caught_up, answer.sources[0].processed) == (False, 1)


def test_the_answer_does_not_need_the_lost_region(project: Project, lose):
    moment = outage(project)
    project.process("west", 1, 2)
    lose("east")
    assert ask(project, as_of=moment).caught_up


def test_without_the_source_the_answer_says_what_it_rests_on(project: Project, lose):
    moment = outage(project)
    project.process("west", 1, 2)
    lose("source")
    answer = ask(project, as_of=moment)
    assert answer.caught_up
    assert "as far as the landing zones know" in answer.sentence


def test_files_that_nobody_has_shipped_yet_are_missed(project: Project):
    outage(project)
    project.process("west", 1, 2, 3)
    assert ask(project).caught_up
    project.arrive(4)
    project.clock.advance(3600)
    answer = ask(project)
    assert not answer.caught_up
    assert "1 older files of the source were not shipped yet" in answer.sentence


def test_a_file_shipped_later_counts_when_it_holds_older_events(project: Project):
    source = project.settings.sources["orders"].model_copy(update={"event_time": "at"})
    project.settings = project.settings.model_copy(update={"sources": {"orders": source}})
    project.arrive(1)
    project.ship()
    moment = project.clock.now()
    project.clock.advance(60)
    early, late = moment - timedelta(seconds=5), moment + timedelta(seconds=5)
    store = Store.open(source.path)
    store.put("2.json", f'{{"at": "{late.isoformat()}"}}\n{{"at": "{early.isoformat()}"}}'.encode())
    project.ship()
    project.process("west", 1)
    assert not ask(project, as_of=moment).caught_up
    assert ask(project, as_of=moment - timedelta(seconds=10)).caught_up
    project.process("west", 2)
    assert ask(project, as_of=moment).caught_up


def test_nothing_shipped_is_nothing_missed(project: Project):
    project.ship()
    answer = ask(project)
    assert answer.caught_up
    assert "orders had shipped nothing by then" in answer.sentence


def test_a_zone_without_a_manifest_is_judged_by_names_and_event_time(project: Project):
    zone = Store.open(project.settings.region("west").landing_zone)
    zone.put("orders/1.json", b"1")
    zone.put("orders/2.json", b"1")
    landed = zone.head("orders/2.json").modified
    project.clock.advance((landed - project.clock.now()).total_seconds() + 60)
    project.process("west", 1)
    answer = ask(project)
    assert not answer.caught_up
    assert "1 landed files that are not processed" in answer.sentence
    assert "the landing zone has no manifest" in answer.sentence
    project.process("west", 2)
    late = ask(project)
    assert not late.caught_up
    assert "no event from" in late.sentence
    assert ask(project, as_of=datetime.fromisoformat("2023-02-28T12:02:00Z")).caught_up


def test_the_future_cannot_be_asked_about(project: Project):
    project.ship()
    with pytest.raises(SettingsError, match="lies in the future"):
        ask(project, as_of=project.clock.now() + timedelta(days=1))


def test_a_lost_region_cannot_answer(project: Project, lose):
    project.ship()
    lose("west")
    with pytest.raises(UnavailableError, match="'west' is not there"):
        ask(project)


def test_an_unknown_region_is_a_mistake(project: Project):
    with pytest.raises(SettingsError, match="no region 'north'"):
        ask(project, region="north")


def test_a_shippers_clock_that_is_ahead_makes_nobody_caught_up(project: Project):
    """Its stamps lie in the future: what counts is when the entries came into the store."""
    written = shipped_now(project, 1, ahead=timedelta(hours=1))
    project.clock.advance((written - project.clock.now()).total_seconds() + 60)
    answer = ask(project, as_of=written + timedelta(seconds=30))
    assert not answer.caught_up
    assert (answer.sources[0].needed, answer.sources[0].processed) == (1, 0)
    assert ask(project, as_of=written - timedelta(seconds=30)).caught_up
    project.process("west", 1)
    assert ask(project, as_of=written + timedelta(seconds=30)).caught_up


def shipped_now(project: Project, number: int, *, ahead: timedelta) -> datetime:
    """Ship a file with a clock that is `ahead` of the store's; the store's own time."""
    project.arrive(number)
    source = open_source("orders", project.settings.sources["orders"])
    written = source.store.head(f"{number}.json").modified
    clock = FakeClock(written + ahead)
    shipper = Shipper(source, open_zones(project.settings), clock)
    shipper.ship()
    shipper.close()
    return written + timedelta(seconds=1)


def test_what_was_shipped_later_is_not_counted_as_shipped_by_then(project: Project):
    source = project.settings.sources["orders"].model_copy(update={"event_time": "at"})
    project.settings = project.settings.model_copy(update={"sources": {"orders": source}})
    project.arrive(1)
    project.ship()
    moment = project.clock.now()
    project.clock.advance(60)
    early = moment - timedelta(seconds=5)
    store = Store.open(source.path)
    project.arrive(2)
    store.put("3.json", f'{{"at": "{early.isoformat()}"}}'.encode())
    project.ship()
    project.process("west", 1, 2, 3)
    answer = ask(project, as_of=moment)
    assert (answer.sources[0].shipped, answer.sources[0].needed) == (1, 3)
    assert "1 were shipped by then, file 3 holds older events" in answer.sentence
