"""Two regions that processed the same files hold the same rows, or it is said which do not."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.errors import SettingsError, UnavailableError
from proa.recovery import Rules, TableReport, Verdict, rules_of, verify
from proa.recovery.common_files import FileLedger, find_common
from proa.settings import VerifySettings
from proa.testing import FakeClock
from two_region_project import new_project

if TYPE_CHECKING:
    from two_region_project import Project


def reports(project: Project, *tables: str, rules: Rules | None = None) -> list[TableReport]:
    east, west = project.region("east"), project.region("west")
    return list(verify(east, west, lambda _table: rules or Rules(), tables))


def test_regions_that_processed_the_same_files_in_other_batches_are_equal(project: Project):
    project.process("east", 1, 2, 3)
    project.process("west", 3)
    project.process("west", 2, 1)
    assert [(one.table, one.verdict, one.files) for one in reports(project)] == [
        ("bronze", Verdict.EQUAL, 3),
        ("gold", Verdict.EQUAL, 3),
    ]


def test_a_changed_value_is_named_with_its_table_key_and_column(project: Project):
    project.process("east", 1, 2)
    project.process("west", 1, 2, changed={2: "two"})
    (gold,) = reports(project, "gold", rules=Rules(key=("at",)))
    assert gold.verdict is Verdict.DIFFERENT
    assert gold.comparison is not None
    (change,) = gold.comparison.changes
    assert change.columns == {"id": ("2", "two")}
    assert "1 rows have other values" in gold.sentence


@pytest.mark.slow
def test_a_region_that_is_behind_is_compared_where_both_had_the_same_files(anywhere: Project):
    project = anywhere
    for region in ("east", "west"):
        project.process(region, 1, 2)
    project.process("east", 3)
    for one in reports(project):
        assert (one.verdict, one.files, one.behind) == (Verdict.EQUAL, 2, (0, 1))
        assert "west is 1 file behind" in one.sentence


def test_a_difference_is_found_behind_the_newest_version_too(project: Project):
    project.process("east", 1, 2)
    project.process("west", 1, 2, changed={1: "one"})
    project.process("west", 3)
    assert [one.verdict for one in reports(project)] == [Verdict.DIFFERENT] * 2


def test_regions_without_a_common_point_are_not_called_equal(project: Project):
    project.process("east", 1, 2)
    project.process("west", 2, 3, 4)
    for one in reports(project):
        assert (one.verdict, one.behind) == (Verdict.BEHIND, (2, 1))
        assert "east is 2 files behind and west is 1 file behind" in one.sentence


def test_a_table_that_one_region_lacks_is_a_difference(project: Project):
    project.ship()
    project.process("east", 1)
    assert [(one.verdict, one.sentence) for one in reports(project, "gold")] == [
        (Verdict.MISSING, "gold does not exist in west")
    ]


def test_tables_of_others_are_compared_as_they_are(project: Project):
    for region, order in (("east", [1, 2]), ("west", [2, 1])):
        url = f"{project.settings.region(region).storage}/tables/theirs"
        write_deltalake(url, pa.table({"a": order}))
    assert [(one.table, one.verdict) for one in reports(project)] == [("theirs", Verdict.EQUAL)]


def test_an_unknown_table_is_a_mistake(project: Project):
    project.ship()
    project.process("east", 1)
    with pytest.raises(SettingsError, match="no table 'golf'"):
        reports(project, "golf")


def test_a_lost_region_is_unavailable(project: Project, lose):
    project.process("east", 1)
    project.process("west", 1)
    lose("west")
    with pytest.raises(UnavailableError, match="'west' is not there"):
        reports(project)


def test_the_rules_of_a_table_add_up():
    settings = VerifySettings(
        tolerance=1e-9, keys={"t": ("a", "b")}, ignore={"*": ("at",), "t": ("x",)}
    )
    assert rules_of(settings, "t") == Rules(key=("a", "b"), tolerance=1e-9, ignore=("at", "x"))
    assert rules_of(settings, "u") == Rules(tolerance=1e-9, ignore=("at",))


HISTORY = st.lists(
    st.tuples(st.sampled_from(["east", "west"]), st.integers(1, 3), st.booleans()), max_size=8
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(HISTORY)
def test_the_common_versions_are_the_newest_that_hold_the_same_files(history):
    with tempfile.TemporaryDirectory() as folder:
        project = new_project(folder, {}, FakeClock())
        project.process("east", 1)
        project.process("west", 1)
        done = {"east": 1, "west": 1}
        for region, count, backwards in history:
            numbers = range(done[region] + 1, done[region] + count + 1)
            project.process(region, *(reversed(numbers) if backwards else numbers))
            done[region] += count
        regions = [project.region(name) for name in ("east", "west")]
        for table in ("bronze", "gold"):
            common = find_common(FileLedger(regions[0]), FileLedger(regions[1]), table)
            held = [
                {
                    frozenset(
                        path.rsplit("/", 1)[1] for path in region.lineage.files(table, version)
                    ): version
                    for version in range(region.lineage.version(table) + 1)
                }
                for region in regions
            ]
            best = max(held[0].keys() & held[1].keys(), key=len)
            assert common.versions == (held[0][best], held[1][best])
            assert common.files == len(best)
            assert common.behind == (
                max(0, done["west"] - done["east"]),
                max(0, done["east"] - done["west"]),
            )
