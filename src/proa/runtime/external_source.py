"""A Delta table that the pipeline does not make, at work as a leaf of a flow.

A complete read, and a stream's first batch, is a version of the table; later batches of a stream read
the files that the versions after it added. The engine takes statistics in the log for values: it reads
by itself only tables whose files alone do not say what their rows are.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from typing import Any

from proa.engine import Engine, Relation
from proa.errors import DataError
from proa.graph import DatasetLeaf, TableLeaf
from proa.lake import Table
from proa.runtime.sources import TableSource
from proa.runtime.table_rows import RowFile, TableRows, file_columns
from proa.storage import absolute


class ExternalTableSource(TableSource):
    """A foreign table, complete or as a stream of new rows."""

    def __init__(self, leaf: TableLeaf, options: Mapping[str, str]) -> None:
        self._url = absolute(leaf.path)
        super().__init__(
            DatasetLeaf(leaf.key, f"delta:{leaf.path}", leaf.streaming, leaf.options),
            Table.at(self._url, options),
        )

    def refresh(self, through: Mapping[str, int] | None = None) -> None:
        super().refresh(through)
        if self._seen < 0:
            raise DataError(
                f"there is no Delta table in {self._url!r}; correct the path, or make the table",
                condition="PATH_NOT_FOUND",
            )

    def _columns(self, engine: Engine, version: int) -> Any:
        return engine.schema(self._complete(engine, version))

    def _complete(
        self, engine: Engine, version: int, within: Collection[str] | None = None
    ) -> Relation:
        if not self._table.is_plain(version):
            return engine.delta(self._url, version)
        files = self._table.partition_texts(version)
        wanted = self._files_within(files, within)
        self._table.check(wanted)
        columns = self._table.schema_at(version)
        reader = TableRows(engine, columns, self._table.partition_by)
        return reader.relation([RowFile(file, files[file]) for file in wanted])

    def _rows(self, engine: Engine, files: list[str], after: int, until: int) -> Relation:
        columns = file_columns(self._columns(engine, until), self._table, until)
        partitions: dict[str, Mapping[str, str | None]] = {}
        if self._table.partition_by:
            for version in range(after + 1, until + 1):
                partitions.update(self._table.file_actions(version).adds)
        reader = TableRows(engine, columns, self._table.partition_by)
        return reader.relation(
            [RowFile(file, partitions.get(_inside(file, self._url), {})) for file in files]
        )


def _inside(file: str, url: str) -> str:
    """Return a file's path below the table."""
    return posixpath.relpath(file.removeprefix("file://"), url.removeprefix("file://"))
