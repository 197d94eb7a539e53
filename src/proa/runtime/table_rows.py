"""Files of a Delta table as rows of its columns.

A file lacks what Delta keeps in the log: values of partition columns, what a change was, and, where
columns are mapped, their names. All that is put in by a projection over the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql.connect import proto
from pyspark.sql.types import StringType, StructField, StructType

from proa.engine import Engine, Relation
from proa.errors import DataError, UserError
from proa.graph.table_options import CHANGE_TYPE, COMMIT_TIME, COMMIT_VERSION, FEED_PROPERTY
from proa.lake import Table
from proa.lake.log import FileActions

MAPPING = "delta.columnMapping.mode"
_PHYSICAL = "delta.columnMapping.physicalName"


@dataclass(frozen=True)
class RowFile:
    """A file and what its rows have in common."""

    location: str
    """Absolute path or URL."""
    partition: Mapping[str, str | None] = field(default_factory=dict)
    """Values by the column's name in the files, as the log spells them."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Values of further columns, as text."""


@dataclass(frozen=True)
class TableRows:
    """Reads files of one table."""

    engine: Engine
    columns: StructType
    """The table's, as its log has them."""
    partition_by: tuple[str, ...]
    further: tuple[StructField, ...] = ()
    """Columns behind the table's: constants of a file, or columns of it where that has none."""

    def relation(self, files: Sequence[RowFile]) -> Relation:
        """A plan of all rows of the files. UserError where nested columns are mapped."""
        groups: dict[tuple[Any, ...], list[str]] = {}
        for file in files:
            values = tuple(file.partition.get(physical_name(c)) for c in self._partitions)
            key = (values, tuple(sorted(file.constants.items())))
            groups.setdefault(key, []).append(file.location)
        plans = [
            self._plan(locations, values, dict(constants))
            for (values, constants), locations in groups.items()
        ]
        if not plans:
            return self.engine.empty(StructType([*self.columns.fields, *self.further]))
        return _union(plans)

    @property
    def _partitions(self) -> list[StructField]:
        return [column for column in self.columns if column.name in self.partition_by]

    def _plan(
        self, files: list[str], values: Sequence[str | None], constants: Mapping[str, str]
    ) -> Relation:
        fixed: dict[str, str | None] = {
            column.name: value for column, value in zip(self._partitions, values, strict=True)
        }
        fixed.update(constants)
        stored = [
            StructField(physical_name(column), column.dataType)
            for column in (*self.columns.fields, *self.further)
            if column.name not in fixed
        ]
        return _project(
            self.engine.parquet(files, StructType(stored)),
            [*self.columns.fields, *self.further],
            fixed,
        )


def feed(
    engine: Engine, table: Table, columns: StructType, after: int, until: int
) -> tuple[TableRows, list[RowFile]]:
    """What the versions `after`+1 to `until` changed: a reader, and the files with the changes.

    `columns` are the feed's. Raises DataError when changes were not recorded or are gone.
    """
    if table.properties.get(FEED_PROPERTY, "false").lower() != "true":
        raise DataError(
            f"the table {table.url!r} records no changes; set its property {FEED_PROPERTY} to true",
            condition="DELTA_MISSING_CHANGE_DATA",
        )
    files: list[RowFile] = []
    for version in range(after + 1, until + 1):
        files += _changes(table, table.file_actions(version))
    table.check([file.location for file in files])
    own = file_columns(StructType(columns.fields[:-3]), table, until)
    reader = TableRows(engine, own, table.partition_by, tuple(columns.fields[-3:]))
    return reader, files


def changed_rows(
    engine: Engine, table: Table, columns: StructType, after: int, until: int
) -> tuple[TableRows, list[RowFile]]:
    """The rows that the versions `after`+1 to `until` took out and added: a reader, and the files.

    A row in both was only written anew. `columns` are the table's; the reader's last column says
    which rows went and which came, in the words of a change feed. Raises DataError when files or
    entries of the log are gone, UserError for what a feed cannot follow.
    """
    files: list[RowFile] = []
    for version in range(after + 1, until + 1):
        files += _changes(table, table.file_actions(version), whole=True)
    table.check([file.location for file in files])
    own = file_columns(columns, table, until)
    change = StructField(CHANGE_TYPE, StringType())
    return TableRows(engine, own, table.partition_by, (change,)), files


def snapshot_feed(relation: Relation, table: Table, columns: StructType, version: int) -> Relation:
    """All rows of a version, `relation`, as a feed that begins with them."""
    constants = {CHANGE_TYPE: "insert", **_commit(table, version)}
    return _project(relation, columns.fields, constants)


def _changes(table: Table, found: FileActions, *, whole: bool = False) -> Iterable[RowFile]:
    """The files that say what a version changed; with `whole` also rows that it wrote anew."""
    common = {} if whole else _commit(table, found.version)
    if found.vectors and not found.changes:
        raise UserError(
            f"version {found.version} of {table.url!r} marks deleted rows with deletion vectors,"
            " which a change feed cannot follow; turn delta.enableDeletionVectors off",
            condition="UNSUPPORTED_FEATURE",
        )
    if found.changes:
        for path, partition in found.changes.items():
            yield RowFile(f"{table.url}/{path}", partition, common)
        return
    if found.adds and found.removes and found.operation == "MERGE" and not whole:
        raise DataError(
            f"version {found.version} of {table.url!r} was written before its changes were recorded;"
            " begin after it, or refresh the table fully",
            condition="DELTA_MISSING_CHANGE_DATA",
        )
    for change, paths in (("delete", found.removes), ("insert", found.adds)):
        for path, partition in paths.items():
            yield RowFile(f"{table.url}/{path}", partition, {CHANGE_TYPE: change, **common})


def _commit(table: Table, version: int) -> dict[str, str]:
    return {COMMIT_VERSION: str(version), COMMIT_TIME: table.time_of(version).isoformat()}


def file_columns(columns: StructType, table: Table, version: int) -> StructType:
    """`columns` of a table with the names that they have in its files, where those are others."""
    logged = {column.name: column.metadata for column in table.schema_at(version)}
    if table.properties.get(MAPPING, "none") != "none":
        check_mapping(table.schema_at(version), table.url)
    return StructType(
        [StructField(c.name, c.dataType, c.nullable, logged.get(c.name)) for c in columns]
    )


def physical_name(column: StructField) -> str:
    """The name that a column has in the files."""
    name: str = (column.metadata or {}).get(_PHYSICAL, column.name)
    return name


def check_mapping(columns: StructType, url: str) -> None:
    """Raise UserError when fields inside a column have other names in the files."""
    for column in columns.fields:
        text = column.dataType.json()
        if _PHYSICAL in text:
            raise UserError(
                f"the table {url!r} maps the names of the fields inside {column.name!r}, which a"
                " stream cannot follow; read it complete, in a materialized view",
                condition="UNSUPPORTED_FEATURE",
            )


def _project(
    plan: Relation, columns: Sequence[StructField], fixed: Mapping[str, str | None]
) -> Relation:
    """The columns of `plan` under their own names, those in `fixed` as constants."""
    project = proto.Relation()
    project.project.input.CopyFrom(plan)
    for column in columns:
        expression = project.project.expressions.add().alias
        expression.name.append(column.name)
        if column.name not in fixed:
            name = physical_name(column).replace("`", "``")
            expression.expr.unresolved_attribute.unparsed_identifier = f"`{name}`"
            continue
        cast = expression.expr.cast
        cast.type_str = column.dataType.simpleString()
        value = fixed[column.name]
        if value is None:
            cast.expr.literal.null.string.SetInParent()
        else:
            cast.expr.literal.string = value
    return project


def _union(plans: Sequence[Relation]) -> Relation:
    """All rows of the plans, put together in pairs: a plan of a thousand levels is not read."""
    level = list(plans)
    while len(level) > 1:
        level = [
            _both(level[i], level[i + 1]) if i + 1 < len(level) else level[i]
            for i in range(0, len(level), 2)
        ]
    return level[0]


def _both(left: Relation, right: Relation) -> Relation:
    union = proto.Relation()
    union.set_op.left_input.CopyFrom(left)
    union.set_op.right_input.CopyFrom(right)
    union.set_op.set_op_type = proto.SetOperation.SET_OP_TYPE_UNION
    union.set_op.is_all = True
    return union
