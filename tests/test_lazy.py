"""Packages export what they say, and a worker imports what it needs and no more."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

PACKAGES = ("autoloader", "engine", "graph", "lake", "pipelines")
IN_A_WORKER = """
import sys
import proa.autoloader.tasks, proa.lake.writer
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
HEAVY = {"deltalake", "pydantic", "pysail", "rich", "typer", "yaml"}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_has_every_name_that_it_exports(name):
    package = importlib.import_module(f"proa.{name}")
    for export in package.__all__:
        value = getattr(package, export)
        assert not isinstance(value, type(sys)), f"{export} is hidden by a module of that name"


def test_a_package_lacks_what_it_does_not_export():
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        importlib.import_module("proa.lake").nothing_of_the_kind  # noqa: B018


def test_a_worker_imports_neither_tables_nor_settings_nor_an_engine(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(IN_A_WORKER, encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()
