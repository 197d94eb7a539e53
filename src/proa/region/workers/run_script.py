"""A Python file, or an entry point of a wheel, run in a worker process as a job's task."""

from __future__ import annotations

import base64
import importlib
import io
import os
import sys
import zipfile
from collections.abc import Callable, Mapping
from importlib.metadata import PathDistribution
from pathlib import Path
from types import ModuleType
from typing import Any

from proa.engine import Engine
from proa.errors import UserError
from proa.region.workers.dbutils import NotebookExit
from proa.region.workers.failures import failure_object
from proa.region.workers.port import Inbox
from proa.region.workers.run_notebook import NotebookKernel, NotebookSession
from proa.settings import EngineSettings


def run(work: Mapping[str, Any], say: Callable[..., None], inbox: Inbox) -> dict[str, Any]:
    """Run the script `work` describes, with its arguments in `sys.argv`."""
    engine = Engine.start(EngineSettings(remote=work.get("engine")), work.get("options") or {})
    kernel = NotebookKernel(work, engine, say, inbox)
    folder = Path(str(work["scratch"])).resolve()
    try:
        session = NotebookSession(kernel, str(work["path"]), {})
        _make_active(kernel.spark())
        sys.argv = [str(work.get("entry_point") or work["path"]), *work.get("arguments", ())]
        if work.get("package") is None:
            session.run_script(str(work["path"]), str(work["source"]))
        else:
            _entry_point(work, folder)()
    except NotebookExit:
        return {"outcome": "COMPLETED"}
    except SystemExit as error:
        # As any program: nothing and 0 are a good end.
        if error.code in (None, 0):
            return {"outcome": "COMPLETED"}
        return failure_object(error, own=kernel.paths, folder=str(folder))
    except BaseException as error:  # noqa: BLE001 - the user's code may raise anything
        return failure_object(error, own=kernel.paths, folder=str(folder))
    finally:
        engine.close()
    return {"outcome": "COMPLETED"}


def _make_active(spark: Any) -> None:
    """Let `SparkSession.builder.getOrCreate()`, and what is like it, find the engine's session."""
    # Asked for before Spark looks for an active session; it is not connected to.
    os.environ["SPARK_REMOTE"] = "sc://region"
    type(spark)._set_default_and_active_session(spark)  # noqa: SLF001 - Spark has no other door

    class Builder:
        def __getattr__(self, _name: str) -> Callable[..., Builder]:
            return lambda *_values, **_options: self

        def getOrCreate(self) -> Any:  # noqa: N802 - Databricks' own name
            return spark

    connect = ModuleType("databricks.connect")
    connect.__dict__["DatabricksSession"] = type("DatabricksSession", (), {"builder": Builder()})
    sys.modules["databricks.connect"] = connect


def _entry_point(work: Mapping[str, Any], folder: Path) -> Callable[[], Any]:
    """The function that a wheel task names. Raises UserError if no wheel of the task has it."""
    package, name = str(work["package"]), str(work["entry_point"])
    for wheel in work.get("wheels") or ():
        place = folder / str(wheel["name"])
        try:
            with zipfile.ZipFile(io.BytesIO(base64.b64decode(wheel["content"]))) as archive:
                archive.extractall(place)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(f"{wheel['name']!r} is not a wheel: {error}") from error
        sys.path.insert(0, str(place))
        for info in place.glob("*.dist-info"):
            for point in PathDistribution(info).entry_points:
                if point.name == name:
                    function: Callable[[], Any] = point.load()
                    return function
    try:
        # As Databricks: a function of the package, when its metadata does not name it.
        found: Callable[[], Any] = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"no wheel of the task has an entry point {name!r}, and {package!r} has no such"
            f" function: {error}; name the wheel in the task's libraries or environment"
        ) from error
    return found
