"""Which raw files a region's tables hold: exactly those, for every version.

A table's log says which batches of which flows it contains; each batch's plan says which raw files
and which versions of other tables it read; those tables' logs say the rest. Neither an engine nor
the pipeline is needed.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

from proa.errors import DataError
from proa.graph import DatasetLeaf, FilesLeaf, Leaf
from proa.lake import GENERATION, Table
from proa.layout import TABLES, Layout, app_id, cut_app, dataset_of
from proa.runtime.checkpoint import Checkpoint, FilesInput, Plan, TableInput, cut_of
from proa.runtime.declared import DeclaredFlow, DeclaredPipeline, DeclaredTable, read_declared
from proa.storage import NotFoundError, Store, is_url


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
        """`paths` are the tables that the pipeline has put at places of their own.

        When they are not given, the last update's are taken.
        """
        self._layout = Layout(storage.rstrip("/"))
        self._options = dict(options or {})
        self._exists = is_url(storage) or Path(storage).is_dir()
        self._declared = read_declared(storage, self._options) if self._exists else None
        if paths is None:
            paths = {} if self._declared is None else self._declared.paths
        self._paths = dict(paths)
        self._tables: dict[str, Table] = {}
        self._plans: dict[tuple[str, str, int], Sequence[Plan | None]] = {}
        self._batches: dict[tuple[str, str, int], int | None] = {}
        self._generations: dict[tuple[str, int], int] = {}
        self._flows: dict[str, list[str]] = {}
        self._names: frozenset[str] | None = None

    # -- tables -------------------------------------------------------------------------------------

    def datasets(self) -> list[str]:
        """The names of the tables that are there, sorted."""
        return sorted(name for name in self._there() if self.table(name).exists)

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

    def declared_pipeline(self) -> DeclaredPipeline:
        """What the last update was declared to compute; guessed where it did not say so."""
        if self._declared is None:
            tables = {name: self._guess_table(name) for name in self.datasets() if self.flows(name)}
            self._declared = DeclaredPipeline(tables, whole=False)
        return self._declared

    # -- flows and batches --------------------------------------------------------------------------

    def flows(self, dataset: str) -> list[str]:
        """The names of the flows that have ever been planned for a table."""
        if not self._exists:
            return []
        if dataset not in self._flows:
            prefix = self._layout.flows(dataset).removeprefix(f"{self._layout.storage}/")
            folders = Store.open(self._layout.storage, self._options).folders(prefix)
            self._flows[dataset] = [urllib.parse.unquote(folder) for folder in folders]
        return self._flows[dataset]

    def generation(self, dataset: str, version: int) -> int:
        """The generation that a version of a table belongs to."""
        key = (dataset, version)
        if key not in self._generations:
            self._generations[key] = self.table(dataset).transaction(GENERATION, version) or 0
        return self._generations[key]

    def last_batch(self, dataset: str, flow: str, version: int) -> int | None:
        """The last batch of a flow that a version of a table contains. None when it has none."""
        if version < 0:
            return None
        key = (dataset, flow, version)
        if key not in self._batches:
            app = app_id(flow, self.generation(dataset, version))
            self._batches[key] = self.table(dataset).transaction(app, version)
        return self._batches[key]

    def plan(self, dataset: str, flow: str, generation: int, batch: int) -> Plan:
        """The plan of a batch that is in a table. DataError when it is gone."""
        known = self._plans.get((dataset, flow, generation), ())
        plan = (
            known[batch]
            if batch < len(known)
            else self._checkpoint(dataset, flow, generation).committed_plan(
                batch, self._cut(dataset, flow, generation, batch)
            )
        )
        return plan if plan is not None else self._missing(dataset, flow, generation, batch)

    def plans(self, dataset: str, flow: str, generation: int, last: int) -> list[Plan]:
        """The plans of the batches 0 to `last`. DataError when one is gone."""
        key = (dataset, flow, generation)
        known = self._plans.get(key, ())
        if last >= len(known):
            cut = self._cut(dataset, flow, generation, last)
            known = self._plans[key] = self._checkpoint(dataset, flow, generation).plans(last, cut)
        return [
            plan if plan is not None else self._missing(dataset, flow, generation, batch)
            for batch, plan in enumerate(known[: last + 1])
        ]

    def counted_plans(self, dataset: str, flow: str, version: int) -> list[Plan]:
        """The plans whose inputs a version contains: all, or the last one when it replaced all rows."""
        last = self.last_batch(dataset, flow, version)
        if last is None:
            return []
        generation = self.generation(dataset, version)
        final = self.plan(dataset, flow, generation, last)
        return [final] if final.replaces else self.plans(dataset, flow, generation, last)

    # -- what a version contains --------------------------------------------------------------------

    def files(self, dataset: str, version: int | None = None) -> frozenset[str]:
        """The absolute paths of the raw files whose rows went into a table at a version.

        Nothing for a table that is not there.
        """
        found: set[str] = set()
        self._gather(dataset, self.version(dataset) if version is None else version, found, set())
        return frozenset(found)

    def reads(self, dataset: str) -> Mapping[str, int]:
        """The versions of other tables that a table's newest version was computed from."""
        version = self.version(dataset)
        tables: dict[str, int] = {}
        for flow in self.flows(dataset):
            for plan in self.counted_plans(dataset, flow, version):
                for name, read in plan.versions.items():
                    tables[name] = max(read, tables.get(name, -1))
        return tables

    def settled_version(self, dataset: str, version: int, *, skip_changes: bool = False) -> int:
        """The newest version that holds the same rows as `version`, as its readers see it.

        A reader that has read `version` has read that one: nothing came between. `skip_changes`
        passes over versions that took rows out, as such a reader does.
        """
        table, newest = self.table(dataset), self.version(dataset)
        while version < newest:
            try:
                commit = table.commit_info(version + 1)
            except NotFoundError:
                break
            if commit.removes and not skip_changes:
                break
            if commit.adds and not commit.removes:
                break
            version += 1
        return version

    def _gather(
        self, dataset: str, version: int, found: set[str], seen: set[tuple[str, int]]
    ) -> None:
        if version < 0 or (dataset, version) in seen:
            return
        seen.add((dataset, version))
        for flow in self.flows(dataset):
            newest: dict[str, int] = {}
            for plan in self.counted_plans(dataset, flow, version):
                for value in plan.inputs.values():
                    if isinstance(value, FilesInput):
                        found.update(file.path for file in value.files)
                    else:
                        newest[value.dataset] = max(value.version, newest.get(value.dataset, -1))
            for name, read in newest.items():
                if self.version(name) >= 0:
                    self._gather(name, self.settled_version(name, read), found, seen)

    def _cut(self, dataset: str, flow: str, generation: int, batch: int) -> int | None:
        """How often a batch was cut, if the table says so: of its last one. None for another."""
        version = self.version(dataset)
        if version < 0 or self.generation(dataset, version) != generation:
            return None
        if self.last_batch(dataset, flow, version) != batch:
            return None
        app = cut_app(app_id(flow, generation))
        return cut_of(batch, self.table(dataset).transaction(app, version))

    def _there(self) -> frozenset[str]:
        """The tables that have a folder. Others are never opened: on disk that would make one."""
        if self._names is None:
            storage = self._layout.storage
            found = Store.open(storage, self._options).folders(TABLES) if self._exists else ()
            self._names = frozenset((*map(dataset_of, found), *self._paths))
        return self._names

    def _checkpoint(self, dataset: str, flow: str, generation: int) -> Checkpoint:
        url = self._layout.checkpoint(dataset, flow, generation)
        return Checkpoint(Store.open(url, self._options))

    def _missing(self, dataset: str, flow: str, generation: int, batch: int) -> Plan:
        url = self._layout.checkpoint(dataset, flow, generation)
        raise DataError(
            f"the plan of batch {batch} of flow {flow!r} is missing below {url!r};"
            " restore the checkpoint, or refresh the table fully",
            condition="CHECKPOINT_DAMAGED",
        )

    def _guess_table(self, dataset: str) -> DeclaredTable:
        """A table as its last batches show it: for storages of which no update has said more."""
        version, flows, recomputed = self.version(dataset), [], False
        for flow in self.flows(dataset):
            last = self.last_batch(dataset, flow, version)
            if last is None:
                continue
            plan = self.plan(dataset, flow, self.generation(dataset, version), last)
            recomputed = recomputed or plan.replaces
            leaves = tuple(_leaf_of(key, value) for key, value in plan.inputs.items())
            flows.append(DeclaredFlow(flow, leaves=leaves))
        return DeclaredTable(tuple(flows), recomputed, self._paths.get(dataset), view=recomputed)


def _leaf_of(key: str, value: FilesInput | TableInput) -> Leaf:
    if isinstance(value, TableInput):
        return DatasetLeaf(key, value.dataset, streaming=value.after is not None)
    return FilesLeaf(key, path="")
