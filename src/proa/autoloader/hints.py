"""Schema hints: types that a user pins, whatever the files look like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import types as t

from proa.autoloader.schema import add_fields
from proa.errors import PipelineError
from proa.formats.arrow_types import has_structs, hinted_fields


@dataclass(frozen=True)
class Hint:
    """A field and its type. `path` leads into structs: ("address", "zip")."""

    path: tuple[str, ...]
    type: t.DataType


def parse_hints(text: str) -> tuple[Hint, ...]:
    """The hints in "id bigint, address.zip string"; names may stand in backticks.

    Raises PipelineError that quotes the hint.
    """
    return tuple(_parse(part) for part in _split(text))


def apply(hints: Sequence[Hint], schema: t.StructType, *, grows: bool = False) -> t.StructType:
    """`schema` with the hinted types; a hinted field that it lacks is added at the end.

    `grows`: fields that the files have and a hinted struct lacks are added to it.
    """
    for hint in hints:
        hinted = _with(schema, hint.path, hint.type)
        schema = _grow_hint(hinted, schema) if grows else hinted
    return schema


def reshape(type_: Any, hinted: t.DataType | None) -> Any:
    """The type with the hinted one wherever this has structs and the type has not.

    So values that are no structs decide nothing about a column that a hint makes of structs.
    """
    if not has_structs(hinted):
        return type_
    if isinstance(hinted, t.StructType) and isinstance(type_, t.StructType):
        return t.StructType(
            [
                t.StructField(
                    f.name, reshape(f.dataType, _field_type(hinted, f.name)), metadata=f.metadata
                )
                for f in type_.fields
            ]
        )
    if isinstance(hinted, t.ArrayType) and isinstance(type_, t.ArrayType):
        return t.ArrayType(reshape(type_.elementType, hinted.elementType))
    return hinted


def new_fields(found: t.DataType, columns: t.DataType) -> Any:
    """The found type with the fields only that the columns lack, or that have such fields inside.

    What is no struct, or an array of structs, in both stays as it was found.
    """
    if isinstance(found, t.ArrayType) and isinstance(columns, t.ArrayType):
        return t.ArrayType(new_fields(found.elementType, columns.elementType))
    if not isinstance(found, t.StructType) or not isinstance(columns, t.StructType):
        return found
    kept = []
    for f in found.fields:
        known = _field_type(columns, f.name)
        type_ = f.dataType if known is None else new_fields(f.dataType, known)
        if known is None or _has_fields(type_):
            kept.append(t.StructField(f.name, type_, metadata=f.metadata))
    return t.StructType(kept)


def _field_type(struct: t.DataType, name: str) -> t.DataType | None:
    """The type of the field with the name, in any case if there is none in this one; or None."""
    fields = struct.fields if isinstance(struct, t.StructType) else []
    exact = next((f.dataType for f in fields if f.name == name), None)
    return hinted_fields(struct).get(name.lower()) if exact is None else exact


def _has_fields(type_: t.DataType) -> bool:
    while isinstance(type_, t.ArrayType):
        type_ = type_.elementType
    return isinstance(type_, t.StructType) and bool(type_.fields)


def _grow_hint(hinted: t.DataType, found: t.DataType) -> Any:
    """The hinted type with the fields that only `found` has at the end of its structs."""
    if isinstance(hinted, t.StructType) and isinstance(found, t.StructType):
        fields = [
            t.StructField(f.name, _grow_hint(f.dataType, there), metadata=f.metadata)
            if (there := _type_of_twins(found.fields, f.name)) is not None
            else f
            for f in hinted.fields
        ]
        names = {f.name.lower() for f in fields}
        return t.StructType([*fields, *(f for f in found.fields if f.name.lower() not in names)])
    if isinstance(hinted, t.ArrayType) and isinstance(found, t.ArrayType):
        return t.ArrayType(_grow_hint(hinted.elementType, found.elementType))
    return hinted


def _with(schema: t.StructType, path: tuple[str, ...], type_: t.DataType) -> t.StructType:
    name = path[0].lower()
    inner = _type_of_twins(schema.fields, path[0])
    if len(path) == 1:
        wanted = type_
    elif isinstance(inner, t.ArrayType) and isinstance(inner.elementType, t.StructType):
        below = path[1:] if path[1] != "element" else path[2:]
        wanted = t.ArrayType(_with(inner.elementType, below, type_)) if below else type_
    elif inner is None and path[1] == "element":
        below = path[2:]
        wanted = t.ArrayType(_with(t.StructType(), below, type_) if below else type_)
    elif isinstance(inner, t.MapType) and path[1] in {"key", "value"}:
        wanted = _in_map(inner, path[1], path[2:], type_)
    else:
        struct = inner if isinstance(inner, t.StructType) else t.StructType()
        wanted = _with(struct, path[1:], type_)
    # The user's spelling: a file's would depend on which one came first.
    if inner is None:
        return t.StructType([*schema.fields, t.StructField(path[0], wanted)])
    at = next(i for i, f in enumerate(schema.fields) if f.name.lower() == name)
    hinted = t.StructField(path[0], wanted, metadata=schema.fields[at].metadata)
    others = [f for f in schema.fields[at + 1 :] if f.name.lower() != name]
    return t.StructType([*schema.fields[:at], hinted, *others])


def _type_of_twins(fields: Sequence[t.StructField], name: str) -> t.DataType | None:
    """The type of the fields with a name in any case: the first one's with the others' fields.

    None where there is no such field.
    """
    types = [f.dataType for f in fields if f.name.lower() == name.lower()]
    if not types:
        return None
    first, *others = [t.StructType([t.StructField(name, type_)]) for type_ in types]
    for other in others:
        first = add_fields(first, other)
    return first.fields[0].dataType


def _in_map(map_: t.MapType, side: str, below: tuple[str, ...], type_: t.DataType) -> t.MapType:
    """The map with the type of its keys, or of its values, or of a field of these, pinned."""
    if side == "key":
        return t.MapType(type_, map_.valueType)
    value = map_.valueType
    if below:
        type_ = _with(value if isinstance(value, t.StructType) else t.StructType(), below, type_)
    return t.MapType(map_.keyType, type_)


_NAME = re.compile(r"\s*(?:`((?:[^`]|``)+)`|([^\s.:`]+))")


def _parse(text: str) -> Hint:
    path: list[str] = []
    at = 0
    while match := _NAME.match(text, at):
        path.append(match.group(1).replace("``", "`") if match.group(1) else match.group(2))
        at = match.end()
        if not text.startswith(".", at):
            break
        at += 1
    rest = re.sub(r"^\s*:?\s*", "", text[at:])
    rest = re.sub(r"(?is)\s+(not\s+null|comment\s+('[^']*'|\"[^\"]*\"))\s*$", "", rest)
    refused = PipelineError(
        f"{text.strip()!r} in schemaHints is not a field and its type;"
        " write for example 'id bigint, address.zip string'",
        condition="PARSE_SYNTAX_ERROR",
    )
    if not path or not rest:
        raise refused
    try:
        from proa.pipelines.ddl import parse_type  # and with it a parser of SQL

        return Hint(tuple(path), parse_type(rest))
    except PipelineError as error:
        raise refused from error


def _split(text: str) -> list[str]:
    """The parts between the commas that stand outside of brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "`'\"":
            quote = character
        elif character in "<(":
            depth += 1
        elif character in ">)":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [part for part in [*parts, text[start:]] if part.strip()]
