"""The columns of a leaf: what its readers fill, and what the engine is handed, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import types as t

from proa.autoloader import hints
from proa.autoloader.options import Options, parse
from proa.autoloader.schema import FileSchema
from proa.errors import PipelineError
from proa.formats.arrow_types import spark_type
from proa.formats.place import PLACE_NAMES, WHOLE, metadata_type
from proa.formats.reader_options import METADATA_NAME, Evolution
from proa.formats.text_file import line_column
from proa.graph.leaves import FilesLeaf
from proa.pipelines.ddl import schema_of_text

FIXED_COLUMNS = {
    "text": t.StructType([t.StructField("value", t.StringType())]),
    "binaryfile": t.StructType(
        [
            t.StructField("path", t.StringType()),
            t.StructField("modificationTime", t.TimestampType()),
            t.StructField("length", t.LongType()),
            t.StructField("content", t.BinaryType()),
        ]
    ),
}
"""The columns of formats whose columns are always the same."""


@dataclass(frozen=True)
class LeafColumns:
    """What options and a given schema make of the files' columns."""

    options: Options
    given: t.StructType | None
    """The user's own schema."""

    def data(self, resolved: FileSchema) -> t.StructType:
        """The columns that the readers fill."""
        partitions = {f.name.lower() for f in resolved.partitions.fields}
        fields = [
            f for f in self._apply_hints(resolved.data).fields if f.name.lower() not in partitions
        ]
        rescued = self.options.reader.rescued_column
        if rescued is not None:
            fields = [f for f in fields if f.name != rescued]
            fields.append(t.StructField(rescued, t.StringType()))
        if self.options.reader.format in {"csv", "text"}:
            _refuse_nested(fields, self.options.reader.format)
        if self.options.reader.format == "text":
            _refuse_other_types(fields)
        if self.options.reader.format in {"csv", "json"}:
            _refuse_corrupt_type(fields, self.options.reader.corrupt_column)
        return t.StructType(fields)

    def output(self, resolved: FileSchema, place: Sequence[str] | None = None) -> t.StructType:
        """The columns in the order in which they came.

        `place` names what `_metadata` has besides what Spark has; None: all that is asked for.

        Those of the first version, rescued data behind them, then those that came later: so a table
        that is written after each shipment has the order of one that is written once.
        """
        filled = self.data(resolved).fields
        _refuse_duplicates(filled)
        data = {f.name.lower(): f for f in filled}
        folders = {f.name.lower(): f for f in resolved.partitions.fields}
        rescued = self.options.reader.rescued_column
        later = {name.lower() for name in resolved.later}
        first = t.StructType([f for f in resolved.data.fields if f.name.lower() not in later])
        names = [f.name.lower() for f in self._apply_hints(first).fields]
        names += [name for name in folders if name not in later]
        names += [] if rescued is None else [rescued.lower()]
        names += [name.lower() for name in resolved.later]
        fields = [
            self._folder(folders[name]) if name in folders else data[name]
            for name in dict.fromkeys(names)
            if name in folders or name in data
        ]
        asked = self.options.metadata
        if asked is not None:
            all_asked = PLACE_NAMES if WHOLE in asked else asked
            struct = metadata_type(all_asked if place is None else place)
            fields.append(t.StructField(METADATA_NAME, spark_type(struct)))
        return t.StructType(fields)

    def _apply_hints(self, data: t.StructType) -> t.StructType:
        grows = self.options.reader.evolution in {Evolution.ADD, Evolution.WIDEN}
        return hints.apply(self.options.hints, data, grows=grows)

    def _folder(self, column: t.StructField) -> t.StructField:
        """A partition's column, of the type that a hint or the given schema says."""
        pinned = {h.path[0].lower(): h.type for h in self.options.hints if len(h.path) == 1}
        given = {f.name.lower(): f.dataType for f in (self.given.fields if self.given else ())}
        name = column.name.lower()
        return t.StructField(column.name, pinned.get(name) or given.get(name) or column.dataType)


def _refuse_nested(fields: Sequence[t.StructField], kind: str) -> None:
    for f in fields:
        if isinstance(f.dataType, (t.StructType, t.ArrayType, t.MapType)):
            raise PipelineError(
                f"the column {f.name!r} of type {f.dataType.simpleString()!r} cannot be read from"
                f" {kind} files; read it as string and use from_json in the query",
                condition="UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE",
            )


def _refuse_other_types(fields: Sequence[t.StructField]) -> None:
    column = line_column([f.name for f in fields])
    types = [f.dataType for f in fields if f.name == column]
    if not types or not isinstance(types[0], t.StringType):
        what = f"{column!r} of type {types[0].simpleString()!r}" if types else "that is a folder's"
        raise PipelineError(
            f"a column {what} cannot take lines of text; read them into a column of type string"
            " and cast it in the query",
            condition="UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE",
        )


def _refuse_corrupt_type(fields: Sequence[t.StructField], column: str) -> None:
    for f in fields:
        if f.name == column and not isinstance(f.dataType, t.StringType):
            raise PipelineError(
                f"the column {column!r} of type {f.dataType.simpleString()!r} cannot take corrupt"
                " records; make it a string, or name another column in columnNameOfCorruptRecord",
                condition="INVALID_CORRUPT_RECORD_TYPE",
            )


def _refuse_duplicates(fields: Sequence[t.StructField]) -> None:
    seen: set[str] = set()
    for f in fields:
        if f.name.lower() in seen:
            raise PipelineError(
                f"the column {f.name!r} would be there twice; rename it in schemaHints, the"
                " schema or rescuedDataColumn",
                condition="COLUMN_ALREADY_EXISTS",
            )
        seen.add(f.name.lower())


def declared_columns(leaf: FilesLeaf) -> t.StructType | None:
    """Return the columns that a leaf's schema, format and options tell, no file looked at.

    Returns None if the files decide.
    """
    options = parse(leaf.options, schema_given=leaf.schema is not None)
    given = None if leaf.schema is None else schema_of_text(leaf.schema)
    inside = given or FIXED_COLUMNS.get(options.reader.format)
    if inside is None:
        return None
    folders = [t.StructField(name, t.StringType()) for name in options.partition_columns or ()]
    return LeafColumns(options, given).output(FileSchema(inside, t.StructType(folders)))
