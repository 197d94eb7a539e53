"""The port to what runs a region's pipelines, and the driver that is made of shell commands."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from proa.errors import ProaError, SettingsError, UnavailableError
from proa.settings import CommandSettings, ProjectSettings, file_numbers_text


class Role(StrEnum):
    """How a region's pipelines are set to run, as its driver sees them."""

    ACTIVE = "active"
    """All the time."""
    STANDBY = "standby"
    """By a schedule."""
    FENCED = "fenced"
    """Not at all."""
    UNKNOWN = "unknown"
    """The driver cannot tell."""


class Driver(Protocol):
    """Flips a region. Every verb may be called again, and raises UnavailableError for a silent region."""

    def role(self, region: str) -> Role:
        """How the region's pipelines are set to run now."""

    def fence(self, region: str) -> None:
        """Stop the region's updates, and let none begin by itself."""

    def drain(self, region: str, through: Mapping[str, int] | None = None) -> None:
        """Let the region process what has landed; returns when that update has ended.

        `through`: by source the number of a file; what was shipped after it is left out.
        """

    def activate(self, region: str) -> None:
        """Let the region run all the time."""

    def demote(self, region: str) -> None:
        """Let the region run by its schedule."""


def role_of(driver: Driver, region: str) -> Role | ProaError:
    """How a region is set to run, or why that is not known."""
    try:
        return driver.role(region)
    except ProaError as error:
        return error


class CommandDriver:
    """Flips regions by the shell commands that `proa.yml` names, run in the project's folder."""

    def __init__(self, commands: CommandSettings, folder: Path) -> None:
        self._commands = commands
        self._folder = folder

    def role(self, region: str) -> Role:  # noqa: ARG002 - the port's shape
        return Role.UNKNOWN

    def fence(self, region: str) -> None:
        run_command(self._commands.fence, region, self._folder)

    def drain(self, region: str, through: Mapping[str, int] | None = None) -> None:
        more = {"PROA_THROUGH": file_numbers_text(through)} if through else {}
        run_command(self._commands.drain, region, self._folder, more)

    def activate(self, region: str) -> None:
        run_command(self._commands.activate, region, self._folder)

    def demote(self, region: str) -> None:
        run_command(self._commands.demote, region, self._folder)


def run_command(
    command: str, region: str, folder: Path, more: Mapping[str, str] | None = None
) -> None:
    """Run a shell command for a region, with more variables in its environment.

    Raises UnavailableError, with its last line, when it fails.
    """
    text = command.replace("{region}", shlex.quote(region))
    # `proa` in a command is this one, also where its environment is not activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(  # noqa: S602 - the project's own command
        text,
        shell=True,
        cwd=folder,
        env={**os.environ, **(more or {}), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UnavailableError(
            f"the command {text!r} ended with code {done.returncode}: {lines[-1] if lines else ''}"
        )


def open_driver(settings: ProjectSettings, folder: Path) -> Driver:
    """The driver that `proa.yml` asks for. Raises SettingsError when it lacks what that driver needs."""
    recovery = settings.recovery
    if recovery is None:
        raise SettingsError(
            "proa.yml has no `recovery`, which says how regions are flipped; see docs/guide/recovery.md"
        )
    if recovery.driver == "command":
        if recovery.commands is None:
            raise SettingsError("recovery.driver is 'command' and recovery.commands is missing")
        return CommandDriver(recovery.commands, folder)
    if recovery.driver == "terraform":
        from proa.recovery.driver_terraform import TerraformDriver

        return TerraformDriver(settings, folder)
    from proa.recovery.driver_api import ApiDriver

    return ApiDriver(settings)
