"""Real processes and hard faults: what consumers read is every acknowledged row, once, and never older.

`PROA_DRILLS=100` runs that many drills in a row, in another order each time with another `PROA_DRILL_SEED`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from drilled_group import REGIONAL, Blow, DrilledGroup, Scene

from proa.clock import SystemClock

pytestmark = pytest.mark.slow

DRILLS = int(os.environ.get("PROA_DRILLS", "6"))
SEED = int(os.environ.get("PROA_DRILL_SEED", "10"))


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrilledGroup]:
    found = DrilledGroup(tmp_path_factory.mktemp("drilled"), SEED)
    yield found
    found.close()


def test_regions_of_servers_meet_while_files_arrive_all_the_time(group: DrilledGroup):
    """Over the API, by real updates: without an end that both are told they would never hold the same files."""
    with group.steady_load():
        for verb in (("drill",), ("switchover", "--to", "west"), ("failback",)):
            assert group.ask(*verb, "--yes", "--wait", "2m") == 0, group.log(verb[0])
            assert (group.folder / f"{verb[0]}.out").read_text().count(" are equal: ") == 1
        assert group.ask("failover", "--to", "west", "--force", "--yes", "--wait", "2m") == 0
        assert group.ask("resume") == 0
    assert group.reader.wrong == []


def test_consumers_read_every_row_once_whatever_happens_to_the_active_region(group: DrilledGroup):
    blows: list[Blow] = []
    clock = SystemClock()
    for number in range(DRILLS):
        began = clock.monotonic()
        blows = blows or [Blow(value) for value in group.random.permutation(len(Blow)) + 1]
        blow = blows.pop()
        scenes = list(Scene) if blow in REGIONAL else [Scene.LOST, Scene.IN_A_CHANGE]
        scene = scenes[group.random.integers(len(scenes))]
        group.drill(scene, blow)
        sys.stdout.write(
            f"drill {number + 1}: {scene.name} {blow.name}, {group.files} rows,"
            f" {group.reader.loads} loads, {group.reader.refusals} refusals,"
            f" {clock.monotonic() - began:.0f} s\n"
        )
        sys.stdout.flush()
    assert group.ask("drill", "--yes") == 0, group.log("drill")
    assert group.reader.wrong == []
