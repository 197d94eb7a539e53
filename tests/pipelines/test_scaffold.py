"""What `proa init` writes can be loaded at once, and has nothing to be mended."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from proa import settings
from proa.cli.main import app
from proa.errors import SettingsError
from proa.pipelines import find_spec, load_spec
from proa.pipelines.load import load_declarations
from proa.pipelines.scaffold import create_project


def test_a_new_project_loads_for_two_regions(tmp_path):
    files = create_project("shop", tmp_path)
    root = tmp_path / "shop"
    spec = load_spec(find_spec(root))
    assert files[0] == find_spec(root)
    assert spec.name == "shop"
    assert [dataset.name for dataset in load_declarations(spec, root).datasets] == [
        "orders_bronze",
        "orders_clean",
        "daily_sales",
    ]
    project = settings.load(root / "proa.yml")
    assert list(project.regions) == ["east", "west"]
    assert project.event_time.table == "daily_sales"
    assert list((root / "data" / "source" / "orders").iterdir())


def test_a_new_project_makes_a_sound_graph_that_depends_on_no_region(tmp_path):
    from proa.graph.build import build
    from proa.graph.findings import findings

    create_project("shop", tmp_path)
    spec = load_spec(find_spec(tmp_path / "shop"))
    built = build(load_declarations(spec, tmp_path / "shop"), catalog=None, database=None)
    assert {node.target for node in built.flows} == {"orders_bronze", "orders_clean", "daily_sales"}
    assert findings(built) == ()


def test_an_existing_folder_is_never_written_to(tmp_path):
    (tmp_path / "shop").mkdir()
    with pytest.raises(SettingsError, match="is there already"):
        create_project("shop", tmp_path)
    assert not list((tmp_path / "shop").iterdir())


@pytest.mark.parametrize("name", ["", "a b", "../up", "a/b", "-x", "x" * 65])
def test_a_name_that_is_no_name_is_refused(tmp_path, name):
    with pytest.raises(SettingsError, match="cannot name a project"):
        create_project(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_it_wrote_and_what_comes_next(tmp_path):
    result = CliRunner().invoke(app, ["init", "shop", "--to", str(tmp_path)])
    assert result.exit_code == 0
    assert "wrote shop/spark-pipeline.yml" in result.stdout
    assert "proa ship --once" in result.stdout


def test_the_command_prints_json_for_programs(tmp_path):
    result = CliRunner().invoke(app, ["init", "shop", "--to", str(tmp_path), "--json"])
    written = json.loads(result.stdout)
    assert written["folder"] == str(tmp_path / "shop")
    assert str(tmp_path / "shop" / "proa.yml") in written["files"]
