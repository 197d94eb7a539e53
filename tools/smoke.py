"""A first project, from nothing to a query, on the Python that runs this. `make test-pythons` runs it.

It imports every module, then does what the README shows: a project, its files shipped to two regions,
an update of one, a query. What is wrong ends it with the command that failed and what it said.
"""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import proa

COMMANDS = (
    ("init", "shop"),
    ("ship", "--once"),
    ("run", "--region", "east"),
    ("query", "--region", "east", "SELECT count(*) AS days FROM daily_sales", "--json"),
)
EDGES = ("migrations.env", "__main__")
"""Modules that do something when they are imported."""


def import_all() -> int:
    """Import every module of the package; returns how many there are."""
    # A warning about our own code, such as of an escape that a later Python refuses, is an error.
    warnings.filterwarnings("error", module=r"proa\.")
    names = [
        found.name
        for found in pkgutil.walk_packages(proa.__path__, "proa.")
        if not found.name.endswith(EDGES)
    ]
    for name in names:
        importlib.import_module(name)
    return len(names)


def main() -> int:
    version = ".".join(map(str, sys.version_info[:3]))
    modules = import_all()
    with tempfile.TemporaryDirectory() as base:
        for command in COMMANDS:
            folder = Path(base) if command[0] == "init" else Path(base, "shop")
            done = subprocess.run(
                [sys.executable, "-m", "proa", *command],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            if done.returncode:
                print(f"Python {version}: proa {' '.join(command)} failed\n{done.stderr}")
                return 1
    print(f"Python {version}: {modules} modules, a first project answers {done.stdout.strip()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
