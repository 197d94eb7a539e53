"""Which raw files a region's tables hold: exactly those, for every version.

A table's log says which batches of which flows it contains; each batch's plan says which raw files
and which versions of other tables it read; those tables' logs say the rest. Neither an engine nor
the pipeline is needed.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proa.errors import DataError
from proa.lake import GENERATION, Table
from proa.layout import Layout, app_id, dataset_of
from proa.runtime.checkpoint import Checkpoint, FilesInput, Plan
from proa.storage import Store, is_url

_TABLES = "tables"


@dataclass(frozen=True)
class Contents:
    """What a version of a table was computed from."""

    files: Mapping[str, int] = field(default_factory=dict)
    """Raw files, absolute, with their sizes in bytes."""
    tables: frozenset[str] = frozenset()
    """The datasets that were read directly."""
    known: bool = False
    """False for a table that no flow has written: nothing can be said."""


class Lineage:
    """The tables of one region's storage and what they contain. Looking makes nothing.

    Remembers what it has read: make a new one to look again. Raises UnavailableError when the
    storage does not answer, DataError when a plan is gone.
    """

    def __init__(
        self,
        storage: str,
        options: Mapping[str, str] | None = None,
        paths: Mapping[str, str] | None = None,
    ) -> None:
        """`paths` are the tables that the pipeline has put at places of their own."""
        self._layout = Layout(storage.rstrip("/"))
        self._options = dict(options or {})
        self._paths = dict(paths or {})
        self._tables: dict[str, Table] = {}
        self._contents: dict[tuple[str, int], Contents] = {}
        self._plans: dict[tuple[str, str, int], Sequence[Plan | None]] = {}
        self._flows: dict[str, list[str]] = {}
        self._names: frozenset[str] | None = None

    def datasets(self) -> list[str]:
        """The names of the tables that are there, sorted."""
        return sorted(name for name in self._there() if self.table(name).exists)

    def files(self, dataset: str, version: int | None = None) -> frozenset[str]:
        """The absolute paths of the raw files whose rows went into a table at a version.

        Nothing for a table that is not there.
        """
        return frozenset(self.contents(dataset, version).files)

    def table(self, dataset: str) -> Table:
        """The table of a dataset in `datasets`."""
        if dataset not in self._tables:
            url = self._paths.get(dataset, self._layout.table(dataset))
            self._tables[dataset] = Table.at(url, self._options)
        return self._tables[dataset]

    def version(self, dataset: str) -> int:
        """The newest version of a table; -1 when there is none."""
        if dataset not in self._there():
            return -1
        table = self.table(dataset)
        return table.version if table.exists else -1

    def contents(self, dataset: str, version: int | None = None) -> Contents:
        """What a version of a table was computed from; the newest when None."""
        newest = self.version(dataset)
        version = newest if version is None else version
        if newest < 0 or version < 0:
            return Contents()
        key = (dataset, version)
        if key not in self._contents:
            # Marked before it is followed, so that a table that reads itself ends.
            self._contents[key] = Contents()
            self._contents[key] = self._follow(dataset, version)
        return self._contents[key]

    def reads(self, dataset: str) -> Mapping[str, int]:
        """The versions of other tables that a table's newest version was computed from."""
        table, version = self.table(dataset), self.version(dataset)
        return self._inputs(dataset, version, table.transaction(GENERATION, version) or 0)[1]

    def leaves(self) -> list[str]:
        """The tables that no other table is made from: what consumers read (gold)."""
        names = self.datasets()
        read = {one for name in names for one in self.contents(name).tables if one != name}
        return [name for name in names if name not in read and self.contents(name).known]

    def _there(self) -> frozenset[str]:
        """The tables that have a folder. Others are never opened: on disk that would make one."""
        if self._names is None:
            storage = self._layout.storage
            exists = is_url(storage) or Path(storage).is_dir()
            found = Store.open(storage, self._options).folders(_TABLES) if exists else ()
            self._names = frozenset((*map(dataset_of, found), *self._paths))
        return self._names

    def _follow(self, dataset: str, version: int) -> Contents:
        generation = self.table(dataset).transaction(GENERATION, version) or 0
        files, tables, known = self._inputs(dataset, version, generation)
        for name, read in tables.items():
            files.update(self.contents(name, read).files)
        return Contents(files, frozenset(tables), known)

    def _inputs(
        self, dataset: str, version: int, generation: int
    ) -> tuple[dict[str, int], dict[str, int], bool]:
        """Raw files with their sizes, tables with their versions, and whether a flow wrote it."""
        table = self.table(dataset)
        files: dict[str, int] = {}
        tables: dict[str, int] = {}
        known = False
        for flow in self._flows_of(dataset):
            last = table.transaction(app_id(flow, generation), version)
            if last is None:
                continue
            known = True
            for plan in self._counted(dataset, flow, generation, last):
                for value in plan.inputs.values():
                    if isinstance(value, FilesInput):
                        files.update((file.path, file.size) for file in value.files)
                    else:
                        before = tables.get(value.dataset, -1)
                        tables[value.dataset] = max(before, value.version)
        return files, tables, known

    def _flows_of(self, dataset: str) -> list[str]:
        if dataset not in self._flows:
            prefix = self._layout.flows(dataset).removeprefix(f"{self._layout.storage}/")
            folders = Store.open(self._layout.storage, self._options).folders(prefix)
            self._flows[dataset] = [urllib.parse.unquote(folder) for folder in folders]
        return self._flows[dataset]

    def _counted(self, dataset: str, flow: str, generation: int, last: int) -> Iterable[Plan]:
        """The plans whose inputs are in the table: all, or the last one when it replaced all rows."""
        key = (dataset, flow, generation)
        url = self._layout.checkpoint(*key)
        checkpoint = Checkpoint(Store.open(url, self._options))
        known = self._plans.get(key, ())
        final = known[last] if last < len(known) else checkpoint.committed(last)
        if final is not None and final.replaces:
            return [final]
        if last >= len(known):
            known = self._plans[key] = checkpoint.plans(last)
        found = []
        for batch, plan in enumerate(known[: last + 1]):
            if plan is None:
                raise DataError(
                    f"the plan of batch {batch} of flow {flow!r} is missing below {url!r};"
                    " restore the checkpoint, or refresh the table fully",
                    condition="CHECKPOINT_DAMAGED",
                )
            found.append(plan)
        return found
