"""Packages export what they say, and a worker imports what it needs and no more."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from proa.engine import worker_code

PACKAGES = ("autoloader", "engine", "graph", "lake", "pipelines")
IN_A_WORKER = """
import sys
import proa.autoloader.tasks, proa.lake.writer
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
HEAVY = {"deltalake", "pydantic", "pysail", "rich", "sqlglot", "typer", "yaml"}


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


def test_what_workers_import_is_sent_to_them_or_is_there():
    """Wherever in the reader and the writer it is imported, at the top or when it is needed."""
    source = Path(worker_code.__file__).parents[1]
    modules = [
        *source.glob("formats/*.py"),
        *source.glob("storage/*.py"),
        source / "autoloader/tasks.py",
        *(source / f"lake/{name}.py" for name in ("writer", "stats")),
    ]
    imported = {
        name.partition(".")[0]
        for module in modules
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        for name in imported_names(node)
    }
    own = {"proa", "pyspark", *sys.stdlib_module_names}
    assert imported - own <= {*worker_code.SHIPPED, *worker_code.EXPECTED}


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module]
    return []


COMMANDS = """
import contextlib, io, sys
from proa.cli.main import run
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    run(sys.argv[1:])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
ENGINES = {"duckdb", "fastapi", "grpc", "pysail", "sqlalchemy"}


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--help"], ENGINES | {"deltalake", "numpy", "obstore", "pandas", "pyarrow", "pydantic", "pyspark", "sqlglot"}),
        (["run", "--help"], ENGINES | {"deltalake", "numpy", "pandas", "pyarrow", "pyspark", "sqlglot"}),
        (["init", "somewhere"], ENGINES | {"deltalake", "pandas", "pyspark"}),
        (["status"], {"fastapi", "grpc", "pysail", "sqlalchemy"}),
    ],
)  # fmt: skip
def test_a_command_imports_no_engine_that_it_does_not_use(tmp_path, arguments, forbidden):
    project = tmp_path / "p"
    project.mkdir()
    (project / "proa.yml").write_text(
        "regions: {east: {landing_zone: data/landing, storage: data/storage}}\n", encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=project,
    )
    assert forbidden & set(done.stdout.split()) == set()


@pytest.mark.parametrize("region", [[], ["--region", "north"]], ids=["none", "unknown"])
@pytest.mark.parametrize(
    "command",
    [["run"], ["maintain"], ["tables"], ["events"], ["schema", "t"], ["query", "SELECT 1"]],
    ids=lambda command: command[0],
)
def test_a_missing_region_is_refused_before_what_runs_pipelines_is_imported(
    tmp_path, command, region
):
    (tmp_path / "proa.yml").write_text(
        "regions: {east: {landing_zone: landing, storage: storage}}\n", encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *command, *region],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert (ENGINES | {"deltalake", "pyspark", "sqlglot"}) & set(done.stdout.split()) == set()


PROJECT = """
from pyspark import pipelines as dp

@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .schema("id bigint, at timestamp").load(spark.conf.get("landing_zone"))
    )

@dp.materialized_view
def gold():
    return spark.read.table("bronze").groupBy("id").count()
"""
NOTHING_TO_DO = """
import sys
from proa.cli.main import run
from proa.lazy import spare_pandas
spare_pandas()
assert run(["run", "--project", sys.argv[1]]) == 0
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.slow
def test_an_update_with_nothing_to_do_imports_neither_an_engine_nor_pandas(tmp_path):
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/a.json").write_text('{"id": 1, "at": "2026-01-01T00:00:00Z"}\n')
    (tmp_path / "p.py").write_text(PROJECT)
    (tmp_path / "spark-pipeline.yml").write_text(
        "name: p\nstorage: storage\nconfiguration: {landing_zone: landing}\n"
        "libraries: [{glob: {include: p.py}}]\n"
    )
    script = tmp_path / "update.py"
    script.write_text(NOTHING_TO_DO)
    command = [sys.executable, script, tmp_path]
    subprocess.run(command, capture_output=True, text=True, check=True)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "COMPLETED: 0 rows" in done.stdout
    imported = set(done.stdout.splitlines()[-1].split())
    assert "pyspark" in imported
    assert (ENGINES - {"grpc"} | {"pandas"}) & imported == set()


SPARED = """
import sys
from proa.lazy import spare_pandas
spare_pandas()
from pyspark.sql.connect import functions, session
assert not any(name.partition(".")[0] == "pandas" for name in sys.modules)
held = session.pd
assert held.__version__
frame = held.DataFrame  # the first use
import pandas
assert frame is pandas.DataFrame
assert pandas.__version__ == held.__version__
moments = pandas.Series(pandas.to_datetime(["2026-01-01", None]))
assert session.is_datetime64_dtype(moments.dtype)
import pyarrow
assert pyarrow.array(moments).null_count == 1
assert session.__loader__ is session.__spec__.loader
"""


def test_pandas_is_there_for_whoever_uses_it(tmp_path):
    script = tmp_path / "spared.py"
    script.write_text(SPARED, encoding="utf-8")
    subprocess.run([sys.executable, script], check=True)


REGION = """
import sys
from proa.cli.main import run
from proa.lazy import spare_pandas
spare_pandas()
for command in sys.argv[1:]:
    assert run(command.split()) == 0
print(*sorted(sys.modules))
"""
NEEDLESS = {
    "duckdb",
    "pandas",
    "proa.cdc.merge",
    "proa.landing.shipper",
    "pyarrow.compute",
    "pysail",
}


@pytest.mark.slow
def test_an_update_of_a_region_with_nothing_to_do_imports_no_engine_and_no_pandas(tmp_path):
    script = tmp_path / "update.py"
    script.write_text(REGION, encoding="utf-8")
    command = [sys.executable, script]
    subprocess.run([*command, f"init p --to {tmp_path}"], check=True, capture_output=True)
    update = "run --region east"
    for commands in (["ship --once", update], [update]):
        done = subprocess.run(
            [*command, *commands], capture_output=True, text=True, check=True, cwd=tmp_path / "p"
        )
    assert "COMPLETED: 0 rows" in done.stdout
    assert NEEDLESS & set(done.stdout.splitlines()[-1].split()) == set()


DISCOVERY = """
import sys
from pathlib import Path
from proa.autoloader import AutoLoader, KnownFiles
from proa.clock import SystemClock
from proa.graph.leaves import FilesLeaf
from proa.lazy import spare_pandas
from proa.storage import Store

spare_pandas()
folder = Path(sys.argv[1])
leaf = FilesLeaf("files:0", str(folder / "landing"), {"cloudFiles.format": "json"})
store = Store.open(str(folder / "state"))
known, loader = KnownFiles(store), AutoLoader(leaf, state=store, storage_options={}, clock=SystemClock())
known.record(0, loader.discover(known).take())
known.compact()
(folder / "landing/new.json").touch()
assert [file.path.rpartition("/")[2] for file in loader.discover(known).take()] == ["new.json"]
assert "pandas" not in sys.modules
"""


def test_files_are_discovered_without_pandas(tmp_path):
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/old.json").touch()
    script = tmp_path / "discovery.py"
    script.write_text(DISCOVERY, encoding="utf-8")
    subprocess.run([sys.executable, script, tmp_path], check=True)


CONTROLLER = """
import sys
import proa.recovery.controller, proa.recovery.by_api, proa.recovery.driver_api
from proa.recovery.region_api import open_api
from proa.clock import SystemClock
from proa.settings import ApiSettings, ProjectSettings, RegionSettings

api = ApiSettings(host="127.0.0.1", token="t")
region = RegionSettings(landing_zone="zone", storage="storage", api=api)
open_api(ProjectSettings(regions={"east": region}), "east", SystemClock())
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_who_changes_roles_imports_neither_the_sdk_nor_what_compares(tmp_path):
    script = tmp_path / "controller.py"
    script.write_text(CONTROLLER, encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert {"databricks", "duckdb", "pandas", "pysail", "sqlglot"} & set(
        done.stdout.split()
    ) == set()
