"""The schema of a flow's files: stored in versions, each put if absent, never changed."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pyspark.sql import types as t

from proa.errors import ConflictError, DataError
from proa.formats.arrow_types import merge_structs
from proa.steps import Step, step
from proa.storage import Store

_FOLDER = "_schemas"


@dataclass(frozen=True)
class FileSchema:
    """What is known of the files' columns, hints not yet applied."""

    data: t.StructType
    """The columns inside the files."""
    partitions: t.StructType
    """The columns that folders' names give."""

    def evolved(self, found: FileSchema) -> FileSchema:
        """The schema with the new fields of `found` at the end, nested ones too.

        Types of fields that are known stay.
        """
        return FileSchema(_added(self.data, found.data), _added(self.partitions, found.partitions))


def _added(old: t.StructType, new: t.StructType) -> t.StructType:
    merged = merge_structs(old, new)
    known = {f.name.lower(): f.dataType for f in old.fields}
    return t.StructType(
        [
            t.StructField(f.name, _kept(known[f.name.lower()], f.dataType))
            if f.name.lower() in known
            else f
            for f in merged.fields
        ]
    )


def _kept(old: t.DataType, merged: t.DataType) -> t.DataType:
    """The old type, grown by new fields only."""
    if isinstance(old, t.StructType) and isinstance(merged, t.StructType):
        return _added(old, merged)
    if isinstance(old, t.ArrayType) and isinstance(merged, t.ArrayType):
        return t.ArrayType(_kept(old.elementType, merged.elementType))
    return old


class SchemaVersions:
    """The versions of one flow's schema, 0, 1, 2 ..., under its checkpoint."""

    def __init__(self, state: Store) -> None:
        self._state = state

    def latest(self) -> tuple[int, FileSchema] | None:
        """The newest version and its number; None before the first."""
        numbers = [
            int(name)
            for info in self._state.walk(_FOLDER)
            if (name := info.path.rsplit("/", 1)[-1]).isdigit()
        ]
        if not numbers:
            return None
        return max(numbers), self._read(max(numbers))

    def put(self, version: int, schema: FileSchema) -> FileSchema:
        """Store the schema as `version`; returns the one that is stored as that in the end.

        It is another runner's when that one was first.
        """
        body = json.dumps(
            {"data": schema.data.jsonValue(), "partitions": schema.partitions.jsonValue()},
            indent=1,
        )
        with step(Step.SCHEMA_PUT):
            try:
                self._state.create(_path(version), body.encode())
            except ConflictError:
                return self._read(version)
        return schema

    def _read(self, version: int) -> FileSchema:
        try:
            found = json.loads(self._state.get(_path(version)))
            return FileSchema(
                t.StructType.fromJson(found["data"]), t.StructType.fromJson(found["partitions"])
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"the stored schema {self._state.url_of(_path(version))!r} is damaged;"
                " restore it, or run a full refresh",
                condition="CHECKPOINT_DAMAGED",
            ) from error


def _path(version: int) -> str:
    return f"{_FOLDER}/{version:010d}"
