"""The shipped Terraform, applied by a real Terraform core to two regions that serve."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from terraform import Terraform

from proa.infra import RegionRoot, Tree, write
from proa.region.errors import ApiError

SHIPPED = Path(__file__).parents[2] / "infra"
PIPELINE = "module.dlt_pipeline.databricks_pipeline.dlt_pipeline"
JOB = "module.dlt_pipeline.databricks_job.dlt_pipeline"
NOTEBOOKS = [
    f'module.dlt_pipeline.databricks_notebook.dlt_pipeline["{name}"]'
    for name in ("notebook1.py", "sub/notebook2.sql")
]


@pytest.fixture
def tree(tmp_path, regions):
    """A project's Terraform tree for the two regions, us-east active."""
    sources = tmp_path / "project"
    (sources / "sub").mkdir(parents=True)
    (sources / "notebook1.py").write_text("# Databricks notebook source\nprint(1)\n")
    (sources / "sub" / "notebook2.sql").write_text("-- Databricks notebook source\nselect 1\n")
    folder = tmp_path / "infra"
    write(
        Tree(
            pipeline="pipeline",
            source="../../../project",
            notebooks=("notebook1.py", "sub/notebook2.sql"),
            regions=tuple(
                RegionRoot(name, live.url, str(live.folder / "landing"), str(live.folder / "dlt"))
                for name, live in regions.items()
            ),
            active="us-east",
            target="flights",
            configuration={"threshold": "${5}"},
        ),
        folder,
    )
    return folder


@pytest.fixture
def roots(tree, provider, regions):
    """The regions' root modules, ready to be applied, by region."""
    made = {}
    for name, live in regions.items():
        made[name] = Terraform(tree / "regions" / name, provider, live.token)
        made[name].init()
    return made


def pipeline_of(live, root):
    return live.region.pipelines.get(root.output("pipeline_id"))


def pause_status_of(live, root):
    job = live.region.jobs.get(int(root.output("job_id")))
    return job.settings["schedule"]["pause_status"]


@pytest.mark.parametrize("root", ["regions/us-east", "regions/us-west", "consumers"])
def test_the_shipped_roots_are_valid(tmp_path, provider, root):
    folder = tmp_path / "infra"
    shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns(".terraform*"))
    terraform = Terraform(folder / root, provider)
    terraform.init()
    assert "The configuration is valid" in terraform.run("validate")


def test_what_is_shipped_and_what_is_written_is_formatted(tree, provider):
    for folder in (SHIPPED, tree):
        Terraform(folder, provider).run("fmt", "-recursive", "-check", "-diff")


def test_apply_makes_the_seed_and_plan_then_shows_no_change(regions, roots):
    for name, root in roots.items():
        assert [action for action, _ in root.changes()] == ["create"] * 4
        root.apply()
        assert root.changes() == []
        live = regions[name]
        pipeline = pipeline_of(live, root)
        assert pipeline.continuous is (name == "us-east")
        assert pause_status_of(live, root) == ("PAUSED" if name == "us-east" else "UNPAUSED")


def test_failover_with_a_dead_region_is_one_command_and_failback_another(regions, roots):
    for root in roots.values():
        root.apply()
    east, west = roots["us-east"], roots["us-west"]
    regions["us-east"].stop()

    assert west.changes("-var=active_region=true") == [("update", JOB), ("update", PIPELINE)]
    west.apply("-var=active_region=true")
    assert pipeline_of(regions["us-west"], west).continuous
    assert pause_status_of(regions["us-west"], west) == "PAUSED"
    assert west.changes("-var=active_region=true") == []

    regions["us-east"].start()
    assert east.changes() == []
    west.apply("-var=active_region=false")
    assert not pipeline_of(regions["us-west"], west).continuous
    assert pause_status_of(regions["us-west"], west) == "UNPAUSED"
    assert west.changes() == []


def test_a_changed_source_file_updates_its_notebook_only(regions, roots, tree):
    root = roots["us-west"]
    root.apply()
    changed = tree.parent / "project" / "notebook1.py"
    changed.write_text("# Databricks notebook source\nprint(2)\n")
    assert root.changes() == [("update", NOTEBOOKS[0])]
    root.apply()
    assert root.changes() == []


def test_what_somebody_else_changed_is_put_back(regions, roots):
    root, live = roots["us-west"], regions["us-west"]
    root.apply()
    live.region.jobs.update(int(root.output("job_id")), {"name": "renamed"})
    assert root.changes() == [("update", JOB)]
    root.apply()
    assert root.changes() == []


def test_what_somebody_else_deleted_is_made_again(regions, roots):
    root, live = roots["us-west"], regions["us-west"]
    root.apply()
    live.region.jobs.delete(int(root.output("job_id")))
    assert root.changes() == [("create", JOB)]
    root.apply()
    assert root.changes() == []


def test_destroy_leaves_nothing(regions, roots):
    root, live = roots["us-east"], regions["us-east"]
    root.apply()
    pipeline_id = root.output("pipeline_id")
    root.destroy()
    with pytest.raises(ApiError, match=pipeline_id):
        live.region.pipelines.get(pipeline_id)
    assert [action for action, _ in root.changes()] == ["create"] * 4


def test_consumers_are_sent_to_the_active_region_without_asking_any(tree, provider, regions):
    consumers = Terraform(tree / "consumers", provider)
    consumers.init()
    for live in regions.values():
        live.stop()
    consumers.apply()
    assert consumers.output("address") == regions["us-east"].url
    consumers.apply("-var=active_region=us-west")
    assert consumers.output("address") == regions["us-west"].url
    assert consumers.output("active_region") == "us-west"
    refused = consumers.run(
        "apply", "-input=false", "-auto-approve", "-var=active_region=moon", allowed=(1,)
    )
    assert "There is no address of region moon" in refused
    for live in regions.values():
        live.start()
