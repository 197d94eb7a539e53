"""The shipped Terraform, applied by a real Terraform core to two regions that serve."""

from __future__ import annotations

import shutil

import pytest
from terraform import Terraform
from two_regions import SHIPPED

from proa.http.api_errors import ApiError

pytestmark = pytest.mark.slow

PIPELINE = "module.dlt_pipeline.databricks_pipeline.dlt_pipeline"
JOB = "module.dlt_pipeline.databricks_job.dlt_pipeline"
NOTEBOOKS = [
    f'module.dlt_pipeline.databricks_notebook.dlt_pipeline["{name}"]'
    for name in ("notebook1.py", "sub/notebook2.sql")
]


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
        assert [action for action, _ in root.changes()] == ["create"] * 6
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


def test_what_somebody_else_changed_or_deleted_is_put_back(regions, roots):
    root, live = roots["us-west"], regions["us-west"]
    root.apply()
    live.region.jobs.update(int(root.output("job_id")), {"name": "renamed"})
    assert root.changes() == [("update", JOB)]
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
    assert [action for action, _ in root.changes()] == ["create"] * 6


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
