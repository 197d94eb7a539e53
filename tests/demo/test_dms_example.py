"""The example of AWS DMS' files: its tables are the database's, in both regions, after each step."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from proa.cli.main import app

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "examples" / "dms"


def proa(*arguments: str) -> None:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script that plays the task, in a copy of the example."""
    shutil.copytree(EXAMPLE, tmp_path / "dms", ignore=shutil.ignore_patterns("data"))
    monkeypatch.chdir(tmp_path / "dms")
    spec = importlib.util.spec_from_file_location("dms_task", "dms_task.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(region: str, name: str, columns: int, where: str = "") -> list[tuple[Any, ...]]:
    table = DeltaTable(f"data/{region}/storage/tables/{name}").to_pyarrow_table()
    rows = [row for row in table.to_pylist() if not where or row[where] is None]
    return sorted(tuple(row.values())[:columns] for row in rows)


def tables_of(region: str) -> dict[str, list[tuple[Any, ...]]]:
    return {
        "customers": rows_of(region, "customers", 4),
        "orders": rows_of(region, "orders", 4, "__END_AT"),
        "payments": rows_of(region, "payments", 4),
    }


def test_tables_are_the_databases_in_both_regions_whatever_their_batches(task: Any):
    task.load()
    for step in range(len(task.CHANGED) + 1):
        proa("ship", "--once")
        proa("run", "--region", "us-east")
        assert tables_of("us-east") == task.tables_after(step)
        task.changes()
    proa("run", "--region", "us-west")
    proa("verify")
    assert tables_of("us-west") == tables_of("us-east")
    assert len(rows_of("us-west", "orders", 4)) == 5
    assert rows_of("us-west", "open_amounts", 3)[0][1:] == (
        'Anna "Ann" Smith',
        task.Decimal("20.50"),
    )
