"""The schema of files as a fold over their order: what each shipment adds, and nothing else decides.

The first schema comes from the first shipment that has a field. Each later one adds what is new in
it, at the end. So a schema depends on the order of files only, not on how they were cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

import pyarrow as pa
from pyspark.sql import types as t

from proa.autoloader import hints
from proa.autoloader.file_ref import FileRef
from proa.autoloader.options import Options
from proa.autoloader.schema import FileSchema
from proa.formats.arrow_types import arrow_schema, field_paths, in_order, merge_structs, settle_type
from proa.formats.folders import partition_values, relative
from proa.formats.reader_options import TYPED_FORMATS


def shipments_of(files: Sequence[FileRef]) -> Iterator[tuple[int, list[FileRef]]]:
    """Cut files, in their order, into shipments; all are one where no manifest gives the order."""
    for shipment, group in groupby(files, key=lambda file: file.shipment):
        yield shipment, list(group)


@dataclass(frozen=True)
class SchemaFold:
    """The rule that says what a shipment's files do to the schema."""

    options: Options
    base: str
    """The folder that is loaded."""

    @cached_property
    def hinted(self) -> t.StructType:
        """The columns that hints make, whatever the files look like."""
        return hints.apply(self.options.hints, _NO_FIELDS)

    def first(
        self,
        files: Sequence[FileRef],
        inferred: Mapping[str, t.StructType],
        before: FileSchema | None = None,
    ) -> FileSchema:
        """What the first shipment's files look like that have a field.

        `inferred` has the fields inside each file, by path; `before` is the schema of shipments
        before it, if there are any.
        """
        found = self._schema(files, inferred)
        return self._reshape(found, found if before is None else before)

    def extend(
        self, old: FileSchema, files: Sequence[FileRef], inferred: Mapping[str, t.StructType]
    ) -> FileSchema:
        """The schema with what the next shipment's files have that readers take for new."""
        shaped = self._reshape(old, old)
        columns = self._known_to_readers(shaped)
        new = {
            file.path: self._new_to_readers(inferred[file.path], columns)
            for file in files
            if file.path in inferred
        }
        return shaped.evolve(self._reshape(self._schema(files, new), shaped))

    def additions(self, old: FileSchema, found: t.StructType) -> t.StructType:
        """The fields of files that `extend` adds to the schema, or may add."""
        return self._new_to_readers(found, self._known_to_readers(self._reshape(old, old)))

    def _known_to_readers(self, schema: FileSchema) -> t.StructType:
        return hints.apply(self.options.hints, schema.data, grows=True)

    def _new_to_readers(self, found: t.StructType, columns: t.StructType) -> t.StructType:
        """A file's fields that readers take for new.

        They know the columns, those that hints make too, and, where they tell cases apart or have
        types, take no name for new that differs from a known one in case only.
        """
        if self.options.reader.case_sensitive or self.options.reader.format in TYPED_FORMATS:
            found = _without_twins(found, columns)
        return hints.new_fields(found, columns)

    def _reshape(self, schema: FileSchema, known: FileSchema) -> FileSchema:
        """The schema with structs where hints say so and files have other values: they are rescued."""
        wanted = hints.apply(self.options.hints, known.data)
        return replace(schema, data=hints.reshape(schema.data, wanted))

    def _schema(self, files: Sequence[FileRef], inferred: Mapping[str, t.StructType]) -> FileSchema:
        merged = t.StructType()
        for file in files:
            merged = merge_structs(merged, inferred.get(file.path, _NO_FIELDS), self.hinted)
        # A header's order is the order that people expect; JSON objects have none.
        if self.options.reader.format == "json":
            merged = in_order(merged)
        partitions = self.partitions(files)
        inside = {f.name.lower() for f in partitions.fields}
        fields = [
            t.StructField(f.name, settle_type(f.dataType))
            for f in _without_odd_names(merged).fields
            if self.options.reader.may_be_column(f.name) and f.name.lower() not in inside
        ]
        return FileSchema(t.StructType(fields), partitions)

    def partitions(self, files: Sequence[FileRef]) -> t.StructType:
        """The columns that folders' names give, in the order in which the files have them."""
        options = self.options
        if options.partition_columns is not None:
            return _strings(options.partition_columns)
        if options.recursive:
            return _NO_FIELDS
        names: dict[str, str] = {}
        for file in files:
            for name in partition_values(file.path, self.base):
                names.setdefault(name.lower(), name)
        return _strings(tuple(names.values()))

    def new_folders(self, known: FileSchema, files: Sequence[FileRef]) -> bool:
        """Whether a shipment's folders give a column that the schema lacks."""
        names = {f.name.lower() for f in (*known.data.fields, *known.partitions.fields)}
        return any(
            f.name.lower() not in names
            for _, group in shipments_of(files)
            for f in self.partitions(group).fields
        )

    def deciding_files(
        self,
        old: FileSchema | None,
        new: FileSchema,
        files: Sequence[FileRef],
        inferred: Mapping[str, t.StructType],
    ) -> dict[str, str]:
        """For each field that is new, the first of the files that has it, below the folder."""
        known = set() if old is None else set(field_paths(arrow_schema(old.data)))
        wanted = [name for name in field_paths(arrow_schema(new.data)) if name not in known]
        found: dict[str, str] = {}
        for file in files:
            if len(found) == len(wanted):
                break
            there = set(field_paths(_settle_schema(inferred.get(file.path, _NO_FIELDS))))
            for name in wanted:
                if name in there:
                    found.setdefault(name, relative(file.path, self.base))
        return {name: found[name] for name in wanted if name in found}


def _without_twins(found: t.StructType, known: t.StructType) -> t.StructType:
    """The fields without those, nested ones too, whose names differ from a known one in case only."""
    types = {f.name: f.dataType for f in known.fields}
    lowered = {name.lower() for name in types}

    def inside(type_: t.DataType, known_type: t.DataType | None) -> t.DataType:
        if isinstance(type_, t.StructType) and isinstance(known_type, t.StructType):
            return _without_twins(type_, known_type)
        if isinstance(type_, t.ArrayType) and isinstance(known_type, t.ArrayType):
            return t.ArrayType(inside(type_.elementType, known_type.elementType))
        return type_

    return t.StructType(
        [
            t.StructField(f.name, inside(f.dataType, types.get(f.name)))
            for f in found.fields
            if f.name in types or f.name.lower() not in lowered
        ]
    )


def _without_odd_names(type_: t.StructType) -> t.StructType:
    """The struct without nested fields whose names no column can have."""

    def mend(inner: t.DataType) -> t.DataType:
        if isinstance(inner, t.ArrayType):
            return t.ArrayType(mend(inner.elementType))
        return _without_odd_names(inner) if isinstance(inner, t.StructType) else inner

    kept = [f for f in type_.fields if "\0" not in f.name]
    return t.StructType([t.StructField(f.name, mend(f.dataType)) for f in kept])


def _settle_schema(type_: t.StructType) -> pa.Schema:
    return arrow_schema(
        t.StructType([t.StructField(f.name, settle_type(f.dataType)) for f in type_.fields])
    )


def _strings(names: Sequence[str]) -> t.StructType:
    return t.StructType([t.StructField(name, t.StringType()) for name in names])


_NO_FIELDS = t.StructType()
