"""Two regions that serve, and a Terraform that knows its provider."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from terraform import Terraform, install_provider
from two_regions import LiveRegion

from proa.infra import RegionRoot, Tree, write

sys.path.append(str(Path(__file__).parents[2] / "tools"))


@pytest.fixture(scope="session")
def provider(tmp_path_factory):
    return install_provider(tmp_path_factory.mktemp("provider"))


@pytest.fixture
def regions(tmp_path):
    """Two regions whose workers do at once what they are asked, by name."""
    made = {}
    try:
        for name in ("us-east", "us-west"):
            (tmp_path / name).mkdir()
            made[name] = LiveRegion(name, tmp_path / name)
        yield made
    finally:
        for region in made.values():
            region.stop()


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
                RegionRoot(name, live.url, live.settings.landing_zone, live.settings.storage)
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
