"""The tables that a pipeline declares, written into its storage for those who look at it from outside.

What a region holds can be read from its tables. What it should hold cannot: a table that was never
computed has left no trace, and one that was renamed has left too many. So every update writes down
what its pipeline declares before it computes anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proa.errors import DataError
from proa.graph.leaves import DatasetLeaf, FilesLeaf, Leaf, TableLeaf
from proa.lake import log
from proa.layout import DECLARED, TABLES, Layout, dataset_of
from proa.pipelines.definitions import DatasetKind
from proa.pipelines.spec import PipelineSpec
from proa.steps import Step, step
from proa.storage import NotFoundError, Store, absolute, is_url

if TYPE_CHECKING:
    from proa.graph import Graph

_FORMAT = 1
_SOFTWARE = ("proa", "pysail", "pyspark-client", "deltalake", "pyarrow")


@dataclass(frozen=True)
class DeclaredFlow:
    """A flow and what it reads."""

    name: str
    once: bool = False
    leaves: tuple[Leaf, ...] = ()


@dataclass(frozen=True)
class DeclaredTable:
    """A table and the flows that feed it."""

    flows: tuple[DeclaredFlow, ...]
    recomputed: bool = False
    """Each batch replaces all rows, as a materialized view's does."""
    path: str | None = None
    """Absolute path or URL, when the pipeline has put the table at a place of its own."""
    private: bool = False
    """Not for consumers."""
    view: bool = field(default=False, compare=False)
    """A materialized view, and not a streaming table."""


@dataclass(frozen=True)
class DeclaredPipeline:
    """What one pipeline declares."""

    tables: Mapping[str, DeclaredTable]
    """By the datasets' names, upstream ones first."""
    identity: tuple[str, str | None, str | None] = ("", None, None)
    """The pipeline's name, catalog and schema: those of another pipeline cannot be compared."""
    text: str = ""
    """A digest of the source files; see `text_digest`."""
    files: Mapping[str, str] = field(default_factory=dict, compare=False)
    """By the source files' names, a digest of each; nothing where an older version wrote it down."""
    software: Mapping[str, str] = field(default_factory=dict, compare=False)
    """The versions of what computed the last update; nothing where an older version wrote it down."""
    findings: tuple[str, ...] | None = field(default=None, compare=False)
    """What depends on where it runs and is not accepted, as `CLOCK in gold`. None: nobody has looked."""
    whole: bool = field(default=True, compare=False)
    """False when nobody has written it down, and it was guessed from what the storage holds."""

    @property
    def paths(self) -> dict[str, str]:
        """The tables at places of their own."""
        return {name: table.path for name, table in self.tables.items() if table.path}

    def to_json(self) -> str:
        return json.dumps(
            {
                "format": _FORMAT,
                "identity": self.identity,
                "text": self.text,
                "files": dict(self.files),
                "software": dict(self.software),
                "findings": self.findings,
                "tables": {name: asdict(table) for name, table in self.tables.items()},
            },
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> DeclaredPipeline:
        """Read what `to_json` wrote. DataError for another version of the format."""
        data = json.loads(text)
        if data.get("format") != _FORMAT:
            raise DataError(
                f"the declared tables are written in format {data.get('format')!r}, and this version"
                f" of Proa reads {_FORMAT}; use the version that runs the region",
                condition="UNSUPPORTED_FORMAT",
            )
        name, catalog, schema = data["identity"]
        tables = {name: _table(value) for name, value in data["tables"].items()}
        findings = data.get("findings")
        return cls(
            tables,
            (name, catalog, schema),
            data["text"],
            data.get("files", {}),
            data.get("software", {}),
            None if findings is None else tuple(findings),
        )


def declared_by(graph: Graph, spec: PipelineSpec, files: Iterable[Path]) -> DeclaredPipeline:
    """What a checked graph declares; `files` are the sources that it was built from."""
    sources = list(files)
    return DeclaredPipeline(
        {
            name: DeclaredTable(
                tuple(
                    DeclaredFlow(node.flow.name, bool(node.flow.once), node.plan.leaves)
                    for node in graph.datasets[name].flows
                ),
                graph.datasets[name].is_recomputed,
                _absolute(graph.datasets[name].dataset.path),
                graph.datasets[name].dataset.private,
                graph.datasets[name].dataset.kind is DatasetKind.MATERIALIZED_VIEW,
            )
            for name in graph.tables
        },
        identity_of(spec),
        text_digest(sources),
        file_digests(sources),
        software_versions(),
    )


def identity_of(spec: PipelineSpec) -> tuple[str, str | None, str | None]:
    """What tells a pipeline from others: its name, catalog and schema."""
    return (spec.name, spec.catalog, spec.database)


def text_digest(files: Iterable[Path]) -> str:
    """32 hexadecimal digits over the contents of source files, wherever they lie."""
    texts = sorted(hashlib.sha256(file.read_bytes()).digest() for file in files)
    return hashlib.sha256(b"".join(texts)).hexdigest()[:32]


def file_digests(files: Iterable[Path]) -> dict[str, str]:
    """A digest of each source file, by its path below the folder that holds them all."""
    paths = sorted(file.absolute() for file in files)
    if not paths:
        return {}
    folder = os.path.commonpath([path.parent for path in paths])
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in paths
    }


@cache
def software_versions() -> dict[str, str]:
    """The versions of what computes and writes tables, here."""
    return {"python": platform.python_version()} | {name: version(name) for name in _SOFTWARE}


def read_declared(storage: str, options: Mapping[str, str]) -> DeclaredPipeline | None:
    """What the last update in a storage was declared to compute. None before the first update."""
    try:
        return DeclaredPipeline.from_json(Store.open(storage, options).get(DECLARED))
    except NotFoundError:
        return None


def table_urls(
    storage: str, options: Mapping[str, str], declared: DeclaredPipeline | None
) -> dict[str, str]:
    """The absolute paths or URLs of the tables that a storage has, by name, in order of the names.

    `declared` is what `read_declared` has found there: it knows the tables that the pipeline has put
    at places of their own.
    """
    layout = Layout(absolute(storage))
    folders = Store.open(layout.storage, options).folders(TABLES)
    urls = {name: layout.table(name) for name in map(dataset_of, folders)}
    placed = {} if declared is None else declared.paths
    urls |= {name: url for name, url in placed.items() if _has_table(url, options)}
    return dict(sorted(urls.items()))


def _has_table(url: str, options: Mapping[str, str]) -> bool:
    """A Delta table is in the folder. Looking makes no folder."""
    if not is_url(url) and not Path(url).is_dir():
        return False
    return log.FOLDER in Store.open(url, options).folders()


def write_declared(storage: str, options: Mapping[str, str], declared: DeclaredPipeline) -> None:
    """Write down what an update computes, unless it stands there already."""
    store, data = Store.open(storage, options), declared.to_json().encode()
    try:
        if store.get(DECLARED) == data:
            return
    except NotFoundError:
        pass
    with step(Step.DECLARED_PUT):
        store.put(DECLARED, data)


def _absolute(path: str | None) -> str | None:
    return absolute(path) if path else None


def _table(value: Mapping[str, Any]) -> DeclaredTable:
    flows = tuple(
        DeclaredFlow(flow["name"], flow["once"], tuple(map(_leaf, flow["leaves"])))
        for flow in value["flows"]
    )
    recomputed = value["recomputed"]
    return DeclaredTable(
        flows,
        recomputed,
        value["path"],
        value.get("private", False),
        value.get("view", recomputed),
    )


def _leaf(value: Mapping[str, Any]) -> Leaf:
    if "dataset" in value:
        return DatasetLeaf(**value)
    return FilesLeaf(**value) if "schema" in value else TableLeaf(**value)
