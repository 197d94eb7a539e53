"""What the workers of a Spark cluster are given: Proa's reader and writer, and what these import.

A stock Spark image knows nothing of Proa. The client sends one archive per session; Spark unpacks it
where its Python workers run, and `on_workers` looks there before it loads a function. The workers'
own Python needs what Spark itself asks for to run Python: pyarrow, pandas and numpy.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from proa.errors import UserError

FOLDER = "proa_worker_code"
"""The archive's folder, seen from where a worker's Python runs."""
CONDITION = "WORKER_LACKS_LIBRARY"

SHIPPED = ("obstore", "duckdb", "fastavro", "msgspec", "typing_extensions")
"""Distributions whose files go with Proa's own. One that is not installed here, an extra, is left
out: this client's pipelines do not need it."""
EXPECTED = {"pyarrow": "21", "pandas": "2.2", "numpy": "1.26"}
"""Libraries that Spark's own Python workers must have, with their oldest version."""
_LACKS = re.compile(r"<proa-lacks>(.*?)</proa-lacks>", re.DOTALL)
_TAKES_NO_ARCHIVES = re.compile("add artifacts|UNIMPLEMENTED", re.IGNORECASE)
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def on_workers(function: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    """Wrap a function for `mapInArrow`, so that workers without Proa can load it."""
    from pyspark import cloudpickle

    packed = cloudpickle.dumps(function)
    folder, python = FOLDER, ".".join(platform.python_version_tuple()[:2])

    def run(batches: Any) -> Iterator[Any]:
        # This body travels by value: it may use the standard library only.
        import json as json_
        import os as os_
        import pickle
        import platform as platform_
        import sys as sys_

        here = os_.path.join(os_.getcwd(), folder)  # noqa: PTH109, PTH118 - see above
        if os_.path.isdir(here) and here not in sys_.path:  # noqa: PTH112
            sys_.path.insert(0, here)
        try:
            yield from pickle.loads(packed)(batches)  # noqa: S301 - our own client packed it
        except ImportError as error:
            lacks = {
                "module": error.name,
                "why": str(error),
                "python": platform_.python_version(),
                "machine": f"{platform_.system()} {platform_.machine()}",
                "client": python,
                "executable": sys_.executable,
            }
            raise RuntimeError(f"<proa-lacks>{json_.dumps(lacks)}</proa-lacks>") from error

    return run


def lacking_library(text: str) -> UserError | None:
    """Say what a worker lacks, from an engine's message. Returns None if that is not its cause."""
    match = _LACKS.search(text)
    if match is None:
        return None
    lacks = json.loads(match.group(1))
    module = (lacks["module"] or "").partition(".")[0]
    if module in EXPECTED:
        what, remedy = f"{module!r}", f"install '{module}>={EXPECTED[module]}' there"
    else:
        what = f"{lacks['module'] or lacks['why']!r}"
        remedy = "the client's libraries do not run there: use the client's Python and machine"
    return UserError(
        f"the engine's workers cannot run Proa's reader and writer: they lack {what}"
        f" (Python {lacks['python']} at {lacks['executable']}, {lacks['machine']}; the client has"
        f" Python {lacks['client']}, {platform.system()} {platform.machine()}); {remedy}, or name"
        " an environment that has it in the cluster's setting 'spark.pyspark.python'",
        condition=CONDITION,
    )


def send(spark: Any) -> None:
    """Send the archive to the workers of a session.

    A server that takes no archives (Sail is one) must have Proa where its workers run; if it has
    not, the first batch says so.
    """
    try:
        spark.addArtifacts(f"{archive()}#{FOLDER}", archive=True)
    except Exception as error:
        if not _TAKES_NO_ARCHIVES.search(str(error)):
            raise


def archive() -> Path:
    """Build the archive for workers, once for these versions; its path."""
    files = sorted(_files())
    key = hashlib.sha256(sys.version.encode())
    for name, path in files:
        status = path.stat()
        key.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    target = Path(tempfile.gettempdir()) / f"proa-worker-code-{key.hexdigest()[:16]}.zip"
    if not target.exists():
        with (
            tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
        ):
            for name, path in files:
                entry = zipfile.ZipInfo(name, _FIXED_TIME)
                entry.external_attr = 0o644 << 16
                packed.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 1)
        Path(file.name).replace(target)
    return target


def _files() -> Iterator[tuple[str, Path]]:
    """Yield the name in the archive and the path of each file that workers need."""
    spec = importlib.util.find_spec("proa")
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    for path in root.rglob("*.py"):
        yield str(path.relative_to(root.parent)), path
    for name in SHIPPED:
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        for entry in found.files or ():
            path = Path(str(found.locate_file(entry)))
            if ".." not in entry.parts and "__pycache__" not in entry.parts and path.is_file():
                yield os.fspath(entry), path
