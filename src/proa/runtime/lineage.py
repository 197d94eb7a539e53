"""Which raw files a table contains: exactly those, for every version.

Every commit names its batch, and every batch's plan names what it read. Following the plans
upstream ends at the raw files.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping

from proa.lake import GENERATION, Table
from proa.runtime.checkpoint import Checkpoint, FilesInput, Plan
from proa.runtime.layout import Layout, app_id
from proa.storage import Store


class Lineage:
    """Answers from the region's storage alone; neither an engine nor the pipeline is needed.

    Raises UnavailableError when the storage does not answer.
    """

    def __init__(
        self,
        storage: str,
        options: Mapping[str, str] | None = None,
        paths: Mapping[str, str] | None = None,
    ) -> None:
        """`paths` are the tables that the pipeline has put at places of their own."""
        self._layout = Layout(storage)
        self._options = dict(options or {})
        self._paths = dict(paths or {})
        self._tables: dict[str, Table] = {}
        self._plans: dict[tuple[str, str, int], list[Plan]] = {}
        self._found: dict[tuple[str, int], frozenset[str]] = {}

    def files(self, dataset: str, version: int | None = None) -> frozenset[str]:
        """The absolute paths of the raw files whose rows went into a table at a version.

        Nothing for a table that is not there.
        """
        table = self._table(dataset)
        if table.refresh() is None:
            return frozenset()
        at = table.version if version is None else version
        known = self._found.get((dataset, at))
        if known is None:
            known = self._found[dataset, at] = frozenset(self._collect(dataset, table, at))
        return known

    def datasets(self) -> list[str]:
        """The names of the tables that are there, sorted."""
        folders = Store.open(f"{self._layout.storage}/tables", self._options).folders()
        return sorted({*map(urllib.parse.unquote, folders), *self._paths})

    def _collect(self, dataset: str, table: Table, version: int) -> set[str]:
        generation = table.transaction(GENERATION, version) or 0
        flows = Store.open(self._layout.flows(dataset), self._options).folders()
        found: set[str] = set()
        for flow in map(urllib.parse.unquote, flows):
            last = table.transaction(app_id(flow, generation), version)
            if last is None:
                continue
            plans = self._batches(dataset, flow, generation, last)
            upstream: set[tuple[str, int]] = set()
            for plan in plans[-1:] if plans and plans[-1].replaces else plans:
                for item in plan.inputs.values():
                    if isinstance(item, FilesInput):
                        found.update(file.path for file in item.files)
                    elif item.version >= 0:
                        upstream.add((item.dataset, item.version))
            for name, at in upstream:
                found |= self.files(name, at)
        return found

    def _batches(self, dataset: str, flow: str, generation: int, last: int) -> list[Plan]:
        plans = self._plans.setdefault((dataset, flow, generation), [])
        if len(plans) <= last:
            url = self._layout.checkpoint(dataset, flow, generation)
            checkpoint = Checkpoint(Store.open(url, self._options))
            for batch in range(len(plans), last + 1):
                plan = checkpoint.read(batch)
                if plan is not None:
                    plans.append(plan)
        return plans[: last + 1]

    def _table(self, dataset: str) -> Table:
        if dataset not in self._tables:
            url = self._paths.get(dataset, self._layout.table(dataset))
            self._tables[dataset] = Table.at(url, self._options)
        return self._tables[dataset]
