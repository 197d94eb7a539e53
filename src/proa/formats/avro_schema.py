"""Avro's schemas: what to decode, and the Arrow types of what comes of it.

The decoder makes Python values. So that none is ambiguous, and none is a value that Python lacks, it
is given a plainer schema whose records are the same bytes: without logical types, and with a record
of one field for each branch of a union that has several.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

_SIMPLE = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_TIMES = {
    ("int", "date"): pa.date32(),
    ("long", "timestamp-millis"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("us"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
}
_WIDER = ({"int", "long"}, {"float", "double"})
_DEEPEST = 60
"""Levels of a schema; engines and table formats take no deeper ones."""


@dataclass(frozen=True)
class Plain:
    """One Avro type, made plain."""

    avro: Any
    """The type that is decoded."""
    decoded: pa.DataType
    """What Arrow makes of the decoded values."""
    type: pa.DataType
    """What they stand for."""
    size: int
    """The fewest bytes of a value."""


def plain_schema(written: Any) -> Plain:
    """The plain form of a file's schema. ValueError if Spark has no columns for it."""
    found = _Reading().plain(written, "", 0)
    if not pa.types.is_struct(found.decoded):
        raise ValueError("its schema is not a record")
    return found


@dataclass
class _Reading:
    named: dict[str, Plain | None] = field(default_factory=dict)
    """Types by full name; None while one is being read."""

    def plain(self, written: Any, space: str, level: int) -> Plain:
        if level > _DEEPEST:
            raise ValueError(f"its schema is nested more than {_DEEPEST} levels")
        if isinstance(written, str):
            return self._by_name(written, space)
        if isinstance(written, list):
            return self._union(written, space, level)
        if not isinstance(written, dict) or "type" not in written:
            raise ValueError(f"its schema has {json.dumps(written)[:60]} for a type")
        kind = written["type"]
        if not isinstance(kind, str):
            return self.plain(kind, space, level + 1)
        if kind in {"array", "map"}:
            return self._collection(written, kind, space, level)
        if kind in {"record", "error", "enum", "fixed"}:
            return self._definition(written, kind, space, level)
        return _with_meaning(self._by_name(kind, space), kind, written)

    def _collection(self, written: dict[str, Any], kind: str, space: str, level: int) -> Plain:
        inner = "items" if kind == "array" else "values"
        item = self.plain(written[inner], space, level + 1)
        avro = {"type": kind, inner: item.avro}
        if kind == "map":
            decoded, type_ = (pa.map_(pa.string(), each) for each in (item.decoded, item.type))
            return Plain(avro, decoded, type_, 1)
        if not item.size:
            raise ValueError("its schema has an array of values that take no bytes")
        return Plain(avro, pa.list_(item.decoded), pa.list_(item.type), 1)

    def _by_name(self, name: str, space: str) -> Plain:
        if name in _SIMPLE:
            sizes = {"null": 0, "float": 4, "double": 8}
            return Plain(name, _SIMPLE[name], _SIMPLE[name], sizes.get(name, 1))
        full = _full_name(name, space)
        full = full if full in self.named else name
        if full not in self.named:
            raise ValueError(f"its schema does not define the type {name!r}")
        known = self.named[full]
        if known is None:
            raise ValueError(f"its type {full!r} contains itself, which no column can")
        return known

    def _definition(self, written: dict[str, Any], kind: str, space: str, level: int) -> Plain:
        full = _full_name(str(written["name"]), str(written.get("namespace", space)))
        self.named[full] = None
        inside = full.rpartition(".")[0]
        if kind == "enum":
            avro = {k: v for k, v in written.items() if k in {"symbols", "default", "aliases"}}
            found = Plain({**avro, "type": kind, "name": full}, pa.string(), pa.string(), 1)
        elif kind == "fixed":
            size = int(written["size"])
            avro = {"type": kind, "name": full, "size": size}
            found = _with_meaning(Plain(avro, pa.binary(), pa.binary(), size), kind, written)
        else:
            found = self._record(written, full, inside, level)
        self.named[full] = Plain(full, found.decoded, found.type, found.size)
        return found

    def _record(self, written: dict[str, Any], full: str, inside: str, level: int) -> Plain:
        fields = [(each, self.plain(each["type"], inside, level + 1)) for each in written["fields"]]
        avro: dict[str, Any] = {"type": "record", "name": full}
        if "aliases" in written:
            avro["aliases"] = written["aliases"]
        avro["fields"] = [
            {k: v for k, v in each.items() if k in {"name", "aliases", "default"}}
            | {"type": found.avro}
            for each, found in fields
        ]
        return Plain(
            avro,
            pa.struct([(each["name"], found.decoded) for each, found in fields]),
            pa.struct([(each["name"], found.type) for each, found in fields]),
            sum(found.size for _, found in fields),
        )

    def _union(self, written: list[Any], space: str, level: int) -> Plain:
        branches = [self.plain(each, space, level + 1) for each in written]
        values = [branch for branch in branches if branch.avro != "null"]
        if not values:
            return Plain([branch.avro for branch in branches], pa.null(), pa.null(), 1)
        avros = [branch.avro for branch in values]
        simple = {avro for avro in avros if isinstance(avro, str)}
        if len(values) == 1 or (len(simple) == len(values) == 2 and simple in _WIDER):
            types = sorted(
                (branch.decoded for branch in values),
                key=lambda type_: type_.bit_width if len(values) > 1 else 0,
            )
            kind = values[0].type if len(values) == 1 else types[-1]
            return Plain([branch.avro for branch in branches], types[-1], kind, 1)
        names = [f"member{i}" for i in range(len(values))]
        wrapped = iter(
            [self._wrap(name, branch) for name, branch in zip(names, values, strict=True)]
        )
        return Plain(
            ["null" if branch.avro == "null" else next(wrapped) for branch in branches],
            pa.struct([(name, b.decoded) for name, b in zip(names, values, strict=True)]),
            pa.struct([(name, b.type) for name, b in zip(names, values, strict=True)]),
            1,
        )

    def _wrap(self, member: str, branch: Plain) -> Any:
        """A record with the branch as its only field: the same bytes."""
        kind = branch.avro if isinstance(branch.avro, str) else branch.avro["type"]
        name = f"proa_{len(self.named)}_{member}_{re.sub(r'[^A-Za-z0-9]', '_', str(kind))}"
        self.named[name] = None
        return {
            "type": "record",
            "name": name,
            "fields": [{"name": member, "type": branch.avro}],
        }


def _full_name(name: str, space: str) -> str:
    return name if "." in name or not space else f"{space}.{name}"


def _with_meaning(plain: Plain, kind: str, written: dict[str, Any]) -> Plain:
    """The type with what its logical type says. One that Spark does not know says nothing."""
    logical = written.get("logicalType")
    meaning = _TIMES.get((kind, str(logical)))
    if logical == "decimal" and kind in {"bytes", "fixed"}:
        precision, scale = int(written.get("precision", 0)), int(written.get("scale", 0))
        if 0 < precision <= 38 and 0 <= scale <= precision:
            meaning = pa.decimal128(precision, scale)
    if meaning is None:
        return plain
    decoded = plain.decoded
    if str(logical).endswith("-millis"):
        decoded = pa.timestamp("ms", getattr(meaning, "tz", None))
    elif str(logical).endswith("-micros"):
        decoded = meaning
    return Plain(plain.avro, decoded, meaning, plain.size)
