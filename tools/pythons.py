"""Run `tools/smoke.py` on each Python that is named and can be had here. `make test-pythons` runs it.

    python tools/pythons.py 3.11 3.12 3.13

An interpreter is looked for on the PATH and among pyenv's. One that is not here is said and left out;
each of the others gets an environment of its own below `build/`, once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def interpreter(version: str) -> Path | None:
    """A Python of `version` ("3.12") that runs. Returns None if there is none here."""
    on_path = shutil.which(f"python{version}")
    pyenv = Path.home() / ".pyenv" / "versions"
    candidates = [
        *([Path(on_path)] if on_path else []),
        *sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True),
    ]
    for candidate in candidates:
        # A shim is on the PATH, and runs nothing.
        check = (
            f"import sys; sys.exit(sys.version_info[:2] != {tuple(map(int, version.split('.')))})"
        )
        if (
            subprocess.run([candidate, "-c", check], capture_output=True, check=False).returncode
            == 0
        ):
            return candidate
    return None


def environment(version: str, python: Path) -> Path:
    """The Python of an environment that has Proa; makes it the first time."""
    folder = ROOT / "build" / f"python-{version}"
    ready, own = folder / ".ready", folder / "bin" / "python"
    requirements = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
    if ready.exists() and all(ready.stat().st_mtime > r.stat().st_mtime for r in requirements):
        return own
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    install = "-m pip install --quiet --disable-pip-version-check --constraint constraints.txt"
    subprocess.run([own, *install.split(), "--editable", ".[server]"], check=True, cwd=ROOT)
    ready.touch()
    return own


def main(versions: list[str]) -> int:
    failed = False
    for version in versions:
        python = interpreter(version)
        if python is None:
            print(f"Python {version}: no interpreter here")
            continue
        own = environment(version, python)
        failed |= subprocess.run([own, "tools/smoke.py"], cwd=ROOT, check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
