"""The schema of a flow's files: stored in versions, each put if absent, never changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pyspark.sql import types as t

from proa.errors import DataError
from proa.formats.arrow_types import merge_structs
from proa.steps import Step
from proa.storage import Store
from proa.storage.folded import NumberedEntries, check_format


@dataclass(frozen=True)
class FileSchema:
    """What is known of the files' columns, hints not yet applied."""

    data: t.StructType
    """The columns inside the files."""
    partitions: t.StructType
    """The columns that folders' names give."""
    later: tuple[str, ...] = ()
    """Names of the columns of both kinds that the first version lacked, in the order they came."""

    def evolve(self, found: FileSchema) -> FileSchema:
        """The schema with the new fields of `found` at the end, nested ones too.

        Types of fields that are known stay.
        """
        data = add_fields(self.data, _without(found.data, self.partitions))
        partitions = add_fields(self.partitions, _without(found.partitions, self.data))
        new = (*data.names[len(self.data) :], *partitions.names[len(self.partitions) :])
        return FileSchema(data, partitions, (*self.later, *new))


@dataclass(frozen=True)
class SchemaVersion:
    """A schema, and from where in the order of files on it holds."""

    number: int
    schema: FileSchema
    shipment: int = 0
    """The shipment that decided it; 0 where no manifest gives the order."""
    decided: Mapping[str, str] = field(default_factory=dict)
    """For each new field the file that was the first to have it, below the folder that is loaded."""
    reach: int = 0
    """The greatest shipment that decided this version or one before."""


def _without(fields: t.StructType, others: t.StructType) -> t.StructType:
    """The fields whose names are not among the others': a name is a file's or a folder's for good."""
    taken = {f.name.lower() for f in others.fields}
    return t.StructType([f for f in fields.fields if f.name.lower() not in taken])


def add_fields(old: t.StructType, new: t.StructType) -> t.StructType:
    """The struct with the fields at the end that only `new` has, nested ones too.

    Types of fields that are known stay.
    """
    merged = merge_structs(old, new)
    # Inside of structs there may be names that differ in case only.
    known = {f.name.lower(): f.dataType for f in old.fields}
    known |= {f.name: f.dataType for f in old.fields}
    types = [known.get(f.name, known.get(f.name.lower())) for f in merged.fields]
    return t.StructType(
        [
            f if type_ is None else t.StructField(f.name, _keep_type(type_, f.dataType))
            for f, type_ in zip(merged.fields, types, strict=True)
        ]
    )


def _keep_type(old: t.DataType, merged: t.DataType) -> t.DataType:
    """The old type, grown by new fields only."""
    if isinstance(old, t.StructType) and isinstance(merged, t.StructType):
        return add_fields(old, merged)
    if isinstance(old, t.ArrayType) and isinstance(merged, t.ArrayType):
        return t.ArrayType(_keep_type(old.elementType, merged.elementType))
    return old


def schema_through(versions: Sequence[SchemaVersion], shipment: int) -> FileSchema:
    """The newest schema without the fields that shipments after this one have brought."""
    since: dict[tuple[str, ...], int] = {}
    for version in versions:
        for path in _paths(version.schema):
            since.setdefault(path, version.shipment)
    latest = versions[-1].schema

    def select(struct: t.StructType, above: tuple[str, ...]) -> t.StructType:
        return t.StructType(
            [
                t.StructField(f.name, inside(f.dataType, (*above, f.name)))
                for f in struct.fields
                if since[(*above, f.name)] <= shipment
            ]
        )

    def inside(type_: t.DataType, above: tuple[str, ...]) -> t.DataType:
        if isinstance(type_, t.ArrayType):
            return t.ArrayType(inside(type_.elementType, above))
        return select(type_, above) if isinstance(type_, t.StructType) else type_

    data, partitions = select(latest.data, ()), select(latest.partitions, ())
    names = {*data.names, *partitions.names}
    return FileSchema(data, partitions, tuple(name for name in latest.later if name in names))


def _paths(schema: FileSchema) -> Iterator[tuple[str, ...]]:
    """The fields of a schema, nested ones too, each with the names that lead to it."""

    def inside(type_: t.DataType, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        while isinstance(type_, t.ArrayType):
            type_ = type_.elementType
        for each in type_.fields if isinstance(type_, t.StructType) else ():
            yield (*above, each.name)
            yield from inside(each.dataType, (*above, each.name))

    yield from inside(schema.data, ())
    yield from inside(schema.partitions, ())


class SchemaVersions:
    """The versions of one flow's schema, 0, 1, 2 ..., under its checkpoint."""

    def __init__(self, state: Store) -> None:
        self._state = state
        self._entries = NumberedEntries(state, "_schemas", step=Step.SCHEMA_PUT)

    def latest(self) -> SchemaVersion | None:
        """The newest version; None before the first."""
        numbers = self._entries.numbers()
        return self._read(numbers[-1]) if numbers else None

    def all(self) -> list[SchemaVersion]:
        """Every version, the oldest first."""
        return [self._read(number) for number in self._entries.numbers()]

    def put(self, version: SchemaVersion) -> SchemaVersion:
        """Store a version; returns the one that is stored under its number in the end.

        It is another runner's when that one was first.
        """
        schema = version.schema
        body = json.dumps(
            {
                "format": _FORMAT,
                "data": schema.data.jsonValue(),
                "partitions": schema.partitions.jsonValue(),
                "later": schema.later,
                "shipment": version.shipment,
                "decided": dict(version.decided),
                "reach": version.reach,
            },
            indent=1,
        )
        data = body.encode()
        standing = self._entries.settle(version.number, data)
        return version if standing == data else self._decode(version.number, standing)

    def _read(self, number: int) -> SchemaVersion:
        return self._decode(number, self._state.get(self._entries.path(number)))

    def _decode(self, number: int, data: bytes) -> SchemaVersion:
        url = self._state.url_of(self._entries.path(number))
        try:
            body = json.loads(data)
            check_format(body.get("format", 1), _FORMAT, f"the stored schema {url!r}")
            schema = FileSchema(
                t.StructType.fromJson(body["data"]),
                t.StructType.fromJson(body["partitions"]),
                # Without a format number an older version of Proa wrote it, which put new columns
                # before the rescued data: they count as the first ones.
                tuple(body.get("later") or ()),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"the stored schema {url!r} is damaged; restore it, or run a full refresh",
                condition="CHECKPOINT_DAMAGED",
            ) from error
        shipment = body.get("shipment", 0)
        return SchemaVersion(
            number, schema, shipment, body.get("decided", {}), body.get("reach", shipment)
        )


_FORMAT = 2
