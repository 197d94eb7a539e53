"""Flips regions by applying their Terraform: `active_region` is written into a region's values file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from proa.errors import SettingsError, UnavailableError
from proa.recovery.driver import Role
from proa.settings import ProjectSettings, RecoverySettings

_VALUE = re.compile(r"^(\s*active_region\s*=\s*)(true|false)\b", re.MULTILINE)
VALUES = "terraform.tfvars"


class TerraformDriver:
    """The values file stays what Terraform's next apply makes true, so that nothing undoes a failover."""

    def __init__(self, settings: ProjectSettings, folder: Path) -> None:
        self._settings = settings
        self._recovery = settings.recovery or RecoverySettings()
        self._folder = folder

    def role(self, region: str) -> Role:
        match = _VALUE.search(self._values(region).read_text(encoding="utf-8"))
        if match is None:
            return Role.UNKNOWN
        return Role.ACTIVE if match[2] == "true" else Role.STANDBY

    def fence(self, region: str) -> None:
        self._apply(region, active=False)

    def drain(self, region: str, through: Mapping[str, int] | None = None) -> None:
        from proa.recovery.driver_api import ApiDriver

        ApiDriver(self._settings).drain(region, through)

    def activate(self, region: str) -> None:
        self._apply(region, active=True)

    def demote(self, region: str) -> None:
        self._apply(region, active=False)

    def _apply(self, region: str, *, active: bool) -> None:
        path = self._values(region)
        text = path.read_text(encoding="utf-8")
        line = f"active_region = {'true' if active else 'false'}"
        value = _VALUE.sub(rf"\g<1>{'true' if active else 'false'}", text)
        path.write_text(value if _VALUE.search(text) else f"{text.rstrip()}\n{line}\n", "utf-8")
        program = shutil.which("terraform") or shutil.which("tofu")
        if program is None:
            raise SettingsError(
                "neither `terraform` nor `tofu` is installed; install one, or set recovery.driver: api"
            )
        done = subprocess.run(  # noqa: S603 - the program that was found
            [
                program,
                f"-chdir={path.parent}",
                "apply",
                "-auto-approve",
                "-input=false",
                "-no-color",
            ],
            env={**os.environ, **self._variables(region)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise UnavailableError(
                f"terraform apply in {str(path.parent)!r} failed: {lines[0] if lines else ''}"
            )

    def _variables(self, region: str) -> dict[str, str]:
        """What Terraform is told besides: the region's own token, where proa.yml has one."""
        api = self._settings.region(region).api
        return {"TF_VAR_token": api.token} if api is not None and api.token else {}

    def _values(self, region: str) -> Path:
        place = Path(self._recovery.terraform.replace("{region}", region))
        path = (place if place.is_absolute() else self._folder / place) / VALUES
        if not path.is_file():
            raise SettingsError(
                f"there is no {str(path)!r}; correct recovery.terraform in proa.yml"
            )
        return path
