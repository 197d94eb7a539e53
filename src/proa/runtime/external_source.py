"""A Delta table that the pipeline does not make, at work as a leaf of a flow.

A complete read, and a stream's first batch, is a version of the table, read by the engine itself.
Later batches of a stream read the files that the versions after it added.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from pyspark.sql.connect import proto

from proa.engine import Engine, Relation
from proa.errors import DataError, UserError
from proa.graph import DatasetLeaf, TableLeaf
from proa.lake import Table, log
from proa.runtime.checkpoint import Input, TableInput
from proa.runtime.sources import TableSource
from proa.storage import Store, absolute

_REFUSED_OPTIONS = frozenset(
    {"startingtimestamp", "readchangefeed", "readchangedata", "schematrackinglocation"}
)
_MAPPING = "delta.columnMapping.mode"


class ExternalTableSource(TableSource):
    """A foreign table, complete or as a stream of new rows."""

    def __init__(self, leaf: TableLeaf, options: Mapping[str, str]) -> None:
        self._url = absolute(leaf.path)
        self._store_options = options
        super().__init__(
            DatasetLeaf(leaf.key, f"delta:{leaf.path}", leaf.streaming, leaf.options),
            Table.at(self._url, options),
        )
        self._start = self._starting_version()

    def refresh(self) -> None:
        super().refresh()
        if self._seen < 0:
            raise DataError(
                f"there is no Delta table in {self._url!r}; correct the path, or make the table",
                condition="PATH_NOT_FOUND",
            )

    def next_input(self, before: Input | None) -> tuple[Input | None, bool]:
        if before is None and self.streaming and self._start:
            name, generation = self.leaf.dataset, self._table.generation
            before = TableInput(name, self._start - 1, generation, self._start - 1)
        return super().next_input(before)

    def schema(self, engine: Engine, found: Input) -> Any:
        assert isinstance(found, TableInput)
        return engine.schema(engine.delta(self._url, found.version))

    def relation(self, engine: Engine, found: Input) -> Relation:
        assert isinstance(found, TableInput)
        if found.after is None or found.after < 0:
            return engine.delta(self._url, found.version)
        mode = self._table.properties.get(_MAPPING, "none")
        if mode != "none":
            raise UserError(
                f"the table {self._url!r} maps its columns ({_MAPPING}: {mode}), which a stream"
                " cannot follow; read it complete, in a materialized view",
                condition="UNSUPPORTED_FEATURE",
            )
        schema = self.schema(engine, found)
        files = self._table.added_between(
            found.after, found.version, skip_changes=self._skip_changes
        )
        if not files:
            return engine.empty(schema)
        self._table.check(files)
        return self._with_partitions(engine, schema, files, found)

    def _with_partitions(
        self, engine: Engine, schema: Any, files: list[str], found: TableInput
    ) -> Relation:
        """Return what reads the files, the values of partition columns put in: no file has them."""
        names = self._table.partition_by
        if not names:
            return engine.parquet(files, schema)
        store = Store.open(self._url, self._store_options)
        assert found.after is not None
        values: dict[str, dict[str, str | None]] = {}
        for version in range(found.after + 1, found.version + 1):
            values.update(log.partitions(store, version))
        groups: dict[tuple[str | None, ...], list[str]] = {}
        for file in files:
            path = _inside(file, self._url)
            groups.setdefault(tuple(values[path].get(name) for name in names), []).append(file)
        from pyspark.sql.types import StructType

        stored = StructType([field for field in schema if field.name not in names])
        plans = [
            _typed_plan(engine.parquet(group, stored), schema, dict(zip(names, key, strict=True)))
            for key, group in groups.items()
        ]
        whole = plans[0]
        for plan in plans[1:]:
            union = proto.Relation()
            union.set_op.left_input.CopyFrom(whole)
            union.set_op.right_input.CopyFrom(plan)
            union.set_op.set_op_type = proto.SetOperation.SET_OP_TYPE_UNION
            union.set_op.is_all = True
            whole = union
        return whole

    def _starting_version(self) -> int:
        """Return the first version whose rows are read; 0 reads all rows that there are."""
        for key, value in self.leaf.options.items():
            name = key.lower()
            if name in _REFUSED_OPTIONS or (name == "startingversion" and not value.isdigit()):
                raise UserError(
                    f"the option {key!r} ({value!r}) of the stream over {self._url!r} is not"
                    " supported; give startingVersion a number, or leave it out to read all rows",
                    condition="UNSUPPORTED_FEATURE",
                )
            if name == "startingversion":
                return int(value)
        return 0


def _inside(file: str, url: str) -> str:
    """Return a file's path below the table."""
    return posixpath.relpath(file.removeprefix("file://"), url.removeprefix("file://"))


def _typed_plan(plan: Relation, schema: Any, values: Mapping[str, str | None]) -> Relation:
    """Return `plan` with the columns of `schema`, those in `values` as constants."""
    project = proto.Relation()
    project.project.input.CopyFrom(plan)
    for field in schema:
        expression = project.project.expressions.add().alias
        expression.name.append(field.name)
        if field.name not in values:
            expression.expr.unresolved_attribute.unparsed_identifier = f"`{field.name}`"
            continue
        cast = expression.expr.cast
        cast.type_str = field.dataType.simpleString()
        value = values[field.name]
        if value is None:
            cast.expr.literal.null.string.SetInParent()
        else:
            cast.expr.literal.string = value
    return project
