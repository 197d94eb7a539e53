"""`proa validate` looks at everything that a failover needs, and names what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fake_group import World
from proa.recovery.control_record import ControlStore
from proa.recovery.readiness import Level, checks
from proa.recovery.region_view import StorageView
from proa.runtime.declared import (
    DeclaredPipeline,
    DeclaredTable,
    file_digests,
    software_versions,
    text_digest,
    write_declared,
)
from proa.settings import ControlSettings, ProjectSettings, RecoverySettings
from two_region_project import Project


@pytest.fixture
def shop(project: Project, tmp_path: Path) -> Project:
    """Both regions have processed what was shipped, with the same files and versions."""
    project.arrive(1, 2)
    project.ship()
    for region in ("east", "west"):
        project.process(region, 1, 2)
        declare(project, region, tmp_path / region / "code")
    return project


def declare(project: Project, region: str, folder: Path, **texts: str) -> None:
    """Write down what an update of `region` over files with these texts would."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"orders": "select 1", "sales": "select 2"} | texts
    for name, text in texts.items():
        (folder / f"{name}.sql").write_text(text)
    files = list(folder.glob("*.sql"))
    declared = DeclaredPipeline(
        {"bronze": DeclaredTable(()), "gold": DeclaredTable(())},
        text=text_digest(files),
        files=file_digests(files),
        software=software_versions(),
        findings=(),
    )
    write_declared(project.settings.region(region).storage, {}, declared)


def answers(project: Project, settings: ProjectSettings | None = None, **recovery) -> dict:
    """The checks by their names."""
    control = ControlSettings(path=f"{project.base}/third")
    asked = (settings or project.settings).model_copy(
        update={"recovery": RecoverySettings(control=control, **recovery)}
    )
    view = StorageView(asked, project.clock)
    found = checks(asked, ControlStore.of(asked), World(), view, project.clock)
    return {check.name: check for check in found}


def test_regions_that_are_alike_are_ready(shop: Project):
    found = answers(shop)
    assert {check.level for name, check in found.items() if name != "drill"} == {Level.OK}
    assert found["versions"].sentence == "all regions ran the same engine and libraries"


def test_the_files_that_differ_are_named(shop: Project, tmp_path: Path):
    declare(shop, "west", tmp_path / "west" / "code", sales="select 3", refunds="select 4")
    check = answers(shop)["pipeline"]
    assert check.level is Level.FAILURE
    assert "the file 'sales.sql' is another one" in check.sentence
    assert "west has the file 'refunds.sql', east has not" in check.sentence
    assert "orders.sql" not in check.sentence


def test_other_versions_of_the_engine_are_named(shop: Project):
    region = shop.region("west")
    declared = region.lineage.declared_pipeline()
    older = replace(declared, software={**declared.software, "pysail": "0.1"})
    write_declared(region.settings.storage, {}, older)
    check = answers(shop)["versions"]
    assert check.level is Level.WARNING
    assert check.sentence.startswith(
        f"pysail is {declared.software['pysail']} in east and 0.1 in west"
    )


def test_what_depends_on_where_it_ran_is_named_or_said_to_be_unknown(shop: Project):
    region = shop.region("west")
    declared = region.lineage.declared_pipeline()
    for findings, expected in (
        (("CLOCK in gold", "RANDOM in gold"), "compute other rows: CLOCK in gold, RANDOM in gold;"),
        (None, "is known after an update of west"),
    ):
        write_declared(region.settings.storage, {}, replace(declared, findings=findings))
        check = answers(shop)["findings"]
        assert check.level is Level.WARNING
        assert expected in check.sentence


def test_settings_that_one_region_lacks_are_named(shop: Project):
    regions = dict(shop.settings.regions)
    regions["east"] = regions["east"].model_copy(update={"configuration": {"currency": "EUR"}})
    check = answers(shop, shop.settings.model_copy(update={"regions": regions}))["settings"]
    assert check.level is Level.WARNING
    assert check.sentence == "the regions' settings differ: west lacks configuration.currency"


def test_objectives_that_are_not_known_to_be_met_are_a_warning(shop: Project):
    check = answers(shop, rpo=60.0)["objectives"]
    assert check.level is Level.WARNING
    assert "so nothing is known of how fast" in check.sentence
    assert "objectives" not in answers(shop), "nothing is promised"
