"""The Terraform driver writes the values file that the next apply will find, and applies it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.errors import SettingsError, UnavailableError
from proa.recovery.driver import CommandDriver, Role, open_driver
from proa.recovery.driver_terraform import TerraformDriver
from proa.settings import ApiSettings, ProjectSettings, RecoverySettings, RegionSettings

VALUES = """# Region us-east. Whether active_region = true stands below.
host = "http://127.0.0.1:8101"
  active_region   = true # the switch
pipeline_name = "sales"
"""
PROGRAM = """#!/bin/sh
echo "$@" >> "{folder}/calls"
echo "$TF_VAR_token" >> "{folder}/tokens"
test ! -e "{folder}/broken" || { echo "Error: cannot reach the provider" >&2; exit 1; }
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TerraformDriver:
    """A project with one region's root module, and a terraform that notes how it is called."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/terraform"
    program.write_text(PROGRAM.replace("{folder}", str(tmp_path)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    (tmp_path / "infra/regions/us-east").mkdir(parents=True)
    (tmp_path / "infra/regions/us-east/terraform.tfvars").write_text(VALUES)
    found = open_driver(settings_of(driver="terraform"), tmp_path)
    assert isinstance(found, TerraformDriver)
    return found


def settings_of(**recovery) -> ProjectSettings:
    regions = {"us-east": RegionSettings(landing_zone="/l", storage="/s")}
    return ProjectSettings(regions=regions, recovery=RecoverySettings(**recovery))


def test_only_the_switch_is_changed_and_it_is_applied(driver: TerraformDriver, tmp_path: Path):
    values = tmp_path / "infra/regions/us-east/terraform.tfvars"
    assert driver.role("us-east") is Role.ACTIVE
    for _ in range(2):
        driver.demote("us-east")
        assert values.read_text() == VALUES.replace(
            "active_region   = true", "active_region   = false"
        )
        assert driver.role("us-east") is Role.STANDBY
    driver.activate("us-east")
    assert values.read_text() == VALUES
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 3
    assert calls[0] == f"-chdir={values.parent} apply -auto-approve -input=false -no-color"


def test_each_region_gets_its_own_token(
    driver: TerraformDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TF_VAR_token", "of the shell")
    driver.demote("us-east")
    api = ApiSettings(host="http://h", token="of us-east")
    settings = settings_of(driver="terraform")
    region = settings.region("us-east").model_copy(update={"api": api})
    settings = settings.model_copy(update={"regions": {"us-east": region}})
    open_driver(settings, tmp_path).demote("us-east")
    assert (tmp_path / "tokens").read_text().splitlines() == ["of the shell", "of us-east"]


def test_a_file_without_the_switch_gets_one(driver: TerraformDriver, tmp_path: Path):
    values = tmp_path / "infra/regions/us-east/terraform.tfvars"
    values.write_text('host = "h"')
    assert driver.role("us-east") is Role.UNKNOWN
    driver.activate("us-east")
    assert values.read_text() == 'host = "h"\nactive_region = true\n'


def test_what_terraform_says_is_told(driver: TerraformDriver, tmp_path: Path):
    (tmp_path / "broken").write_text("")
    with pytest.raises(UnavailableError, match="cannot reach the provider"):
        driver.activate("us-east")


def test_a_missing_folder_or_program_is_a_mistake(
    driver: TerraformDriver, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(SettingsError, match=r"us-west.*correct recovery\.terraform"):
        driver.role("us-west")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SettingsError, match="neither `terraform` nor `tofu`"):
        driver.activate("us-east")


def test_a_driver_that_lacks_its_settings_is_a_mistake(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"recovery\.commands is missing"):
        open_driver(settings_of(driver="command"), tmp_path)
    with pytest.raises(SettingsError, match="no `recovery`"):
        open_driver(settings_of().model_copy(update={"recovery": None}), tmp_path)
    commands = {"drain": "echo {region} > drained", "fence": "echo no >&2; exit 3"}
    driver = open_driver(settings_of(driver="command", commands=commands), tmp_path)
    assert isinstance(driver, CommandDriver)
    driver.drain("us; touch x")
    assert (tmp_path / "drained").read_text() == "us; touch x\n"
    assert not (tmp_path / "x").exists()
    with pytest.raises(UnavailableError, match="ended with code 3: no"):
        driver.fence("us-east")
