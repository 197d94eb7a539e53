"""`proa infra init`: which files it writes, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from infra_tree import SEED, seed_files
from typer.testing import CliRunner

from proa.cli.main import app
from proa.errors import ConflictError, SettingsError
from proa.infra import write

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path):
    (tmp_path / "proa.yml").write_text(
        "regions:\n"
        "  north: {landing_zone: s3://n/landing, storage: s3://n/storage}\n"
        "  south: {landing_zone: data/landing, storage: data/storage, server: {port: 9000}}\n"
    )
    (tmp_path / "spark-pipeline.yml").write_text(
        "name: orders\nstorage: data/storage\ndatabase: sales\n"
        "configuration: {landing_zone: data/landing, currency: '${EUR}'}\n"
        "libraries: [{glob: {include: transformations/**}}]\n"
    )
    (tmp_path / "transformations").mkdir()
    (tmp_path / "transformations" / "orders.py").write_text("")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["infra", "init", *map(str, arguments)], catch_exceptions=False)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and ".terraform" not in path.as_posix()
    }


def test_the_repositorys_tree_is_what_is_generated():
    shipped = contents(REPOSITORY / "infra")
    notebooks = {f"module/notebooks/{name}" for name in SEED.notebooks}
    assert notebooks <= shipped.keys()
    written = {path: shipped[path] for path in shipped.keys() - notebooks}
    assert written == seed_files(), "run `make docs` and commit what it writes"
    assert written["README.md"].startswith("<!-- Written by `make docs`")


def test_init_writes_one_root_for_each_region_of_the_project(project):
    result = run("--project", project)
    assert result.exit_code == 0
    roots = sorted(path.name for path in (project / "infra" / "regions").iterdir())
    assert roots == ["north", "south"]
    north = (project / "infra/regions/north/terraform.tfvars").read_text()
    assert 'host    = "http://127.0.0.1:8101"' in north
    assert "active_region = true" in north
    assert 'pipeline_storage    = "s3://n/storage"' in north
    assert 'pipeline_target     = "sales"' in north
    assert 'notebooks_source    = "../../.."' in north
    assert '"transformations/orders.py",' in north
    south = (project / "infra/regions/south/terraform.tfvars").read_text()
    assert 'host    = "http://127.0.0.1:9000"' in south
    assert "active_region = false" in south
    assert f'landing_zone        = "{project}/data/landing"' in south


def test_a_value_with_a_dollar_sign_is_text_to_terraform(project):
    run("--project", project)
    assert (
        '"currency" = "$${EUR}"' in (project / "infra/regions/north/terraform.tfvars").read_text()
    )


def test_hosts_and_the_active_region_can_be_named(project, tmp_path):
    address = "https://south.cloud.databricks.com"
    result = run(
        "--project", project, "--to", tmp_path / "tf", "--active", "south",
        "--host", f"south={address}", "--json",
    )  # fmt: skip
    written = json.loads(result.stdout)["written"]
    assert str(tmp_path / "tf" / "README.md") in written
    south = (tmp_path / "tf/regions/south/terraform.tfvars").read_text()
    assert f'host    = "{address}"' in south
    assert "active_region = true" in south
    consumers = (tmp_path / "tf/consumers/terraform.tfvars").read_text()
    assert 'active_region = "south"' in consumers
    assert f'"south" = "{address}"' in consumers


def test_init_again_changes_nothing_and_keeps_the_users_values(project):
    run("--project", project)
    values = project / "infra/regions/north/terraform.tfvars"
    values.write_text("active_region = false\n")
    before = contents(project)
    result = run("--project", project, "--json")
    assert json.loads(result.stdout)["written"] == []
    assert contents(project) == before


def test_a_changed_module_is_never_overwritten_unasked(tmp_path):
    write(SEED, tmp_path)
    changed = tmp_path / "module" / "main.tf"
    changed.write_text("# ours\n")
    (tmp_path / "consumers" / "main.tf").unlink()
    with pytest.raises(ConflictError, match=r"module/main\.tf"):
        write(SEED, tmp_path)
    assert changed.read_text() == "# ours\n"
    assert not (tmp_path / "consumers" / "main.tf").exists()
    write(SEED, tmp_path, replace=True)
    assert changed.read_text() != "# ours\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--active", "west"], "there is no region 'west' to be active; the project has north"),
        (["--host", "west=https://x"], "the regions are north, south"),
        (["--host", "north=x"], "write REGION=URL"),
    ],
)
def test_a_wrong_option_names_what_there_is(project, options, says):
    with pytest.raises(SettingsError, match=says):
        run("--project", project, *options)
    assert not (project / "infra").exists()
