"""One record at a time, exactly: where every part of a dirty record ends up.

The vectorised readers hand over only the records that they cannot take. What fits the schema goes
into its columns; what does not fit is rescued, as JSON, so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

import pyarrow as pa

from proa.formats.folders import partition_values
from proa.formats.json_values import Number, parse, parse_record
from proa.formats.problems import Problem, ProblemKind, ReadError
from proa.formats.reader_options import Mode, ReaderOptions
from proa.formats.rescued import rescued_value
from proa.formats.scalars import Convert, scalar


class _Absent:
    """Nothing was left over."""


ABSENT = _Absent()


@dataclass
class Converter:
    """Values into the columns of `schema`. New fields are collected in `unknown`."""

    schema: pa.Schema
    options: ReaderOptions
    file: str
    """The file's path relative to the folder that is loaded."""
    path: str = ""
    """The file's absolute path, for errors."""
    hidden: frozenset[str] = frozenset()
    """Columns that no file fills (the corrupt record's)."""
    note: Callable[[str, str], None] | None = None
    """Takes records that the mode drops, and why."""
    unknown: dict[str, None] = field(default_factory=dict)

    @cached_property
    def _shape(self) -> _Shape:
        """Of the columns; most files have no record that asks for it."""
        columns = [f for f in self.schema if f.name not in self.hidden]
        return _Shape.struct(columns, self.options)

    def rows_of(self, line: bytes) -> list[dict[str, Any]]:
        """The rows of one line of JSON: none when it is blank, several for an array."""
        try:
            text = line.decode("utf-8")
            if not text.strip(" \t\r\n\ufeff"):
                return []
            text = text.strip("\r\n\ufeff")
            record = parse_record(text)
            if record is not None:
                return self.row(record, text)
            return [row for item in array_objects(parse(text)) for row in self.row(item, text)]
        except UnicodeDecodeError:
            return self.corrupt(line.decode("utf-8", "backslashreplace"), "it is not UTF-8")
        except ValueError as error:
            return self.corrupt(line.decode("utf-8"), str(error))

    def row(self, record: dict[str, Any], text: str) -> list[dict[str, Any]]:
        """The row of one record: none when the mode drops it."""
        values, leftover = self._members(record, self._shape, ())
        if self.unknown and self.options.evolution.stops:
            self.stop()
        return self._finish(record, values, leftover, text)

    def is_folder(self, name: str) -> bool:
        """Whether a folder's name fills the column."""
        return name.lower() in self.options.partitions

    def new_columns(self, names: Iterable[str]) -> list[str]:
        """Those of the unknown names that can become columns and are not folders' names."""
        return [n for n in names if self.options.may_be_column(n) and not self.is_folder(n)]

    def folder(self, name: str) -> str | None:
        """What the folder's name says of the column."""
        if not self.is_folder(name):
            return None
        values = {key.lower(): text for key, text in partition_values(self.file, "").items()}
        return values.get(name.lower())

    def _as_folder(self, name: str, value: Any) -> bool:
        return isinstance(value, str) and value == self.folder(name)

    def value(self, value: Any, column: pa.Field) -> tuple[Any, Any]:
        """(what goes into the column, what is left over or `ABSENT`)."""
        return self._convert(value, self._shape.members[column.name], (column.name,))

    def stop(self) -> NoReturn:
        """Tell the driver of the new fields."""
        raise ReadError(Problem(ProblemKind.NEW_FIELDS, self.path, fields=tuple(self.unknown)))

    def _finish(
        self, record: dict[str, Any], values: dict[str, Any], leftover: dict[str, Any], text: str
    ) -> list[dict[str, Any]]:
        options = self.options
        if leftover and options.rescued_column is None and not self._only_unknown(leftover):
            if options.mode is Mode.DROP:
                return self.drop(text, f"{next(iter(leftover))!r} does not have its column's type")
            if options.mode is Mode.FAIL:
                self.fail_malformed(f"{next(iter(leftover))!r} does not have its column's type")
            if options.corrupt_column in self.hidden:
                values[options.corrupt_column] = text.strip("\r\n")
        if leftover and options.rescued_column is not None:
            values[options.rescued_column] = rescued_value(leftover, self.file, record)
        return [values]

    def _only_unknown(self, leftover: dict[str, Any]) -> bool:
        return not any(name in self._shape.members for name in leftover)

    def corrupt(self, text: str, reason: str) -> list[dict[str, Any]]:
        """The row of something that is not a record at all."""
        options = self.options
        if options.mode is Mode.DROP:
            return self.drop(text, reason)
        if options.mode is Mode.FAIL:
            self.fail_malformed(f"{reason}: {text.strip()[:100]!r}")
        text = text.strip("\r\n")
        if options.corrupt_column in self.hidden:
            return [{options.corrupt_column: text}]
        if options.rescued_column is not None:
            return [
                {options.rescued_column: rescued_value({options.corrupt_column: text}, self.file)}
            ]
        return [{}]

    def drop(self, text: str, reason: str) -> list[dict[str, Any]]:
        """No row of a record; it is noted where somebody asks for it."""
        if self.note is not None:
            self.note(text.strip("\r\n"), reason)
        return []

    def widen(self, column: str, type_: pa.DataType) -> NoReturn:
        """Tell the driver of a type that Delta can widen the column to."""
        raise ReadError(Problem(ProblemKind.WIDER, self.path, str(type_), (column,)))

    def fail_malformed(self, detail: str) -> NoReturn:
        """Fail, as the mode FAILFAST wants it."""
        raise ReadError(Problem(ProblemKind.MALFORMED, self.path, detail))

    def _members(
        self, record: dict[str, Any], shape: _Shape, where: tuple[str, ...]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        raw = getattr(record, "raw", {})
        known = shape.members
        values: dict[str, Any] = {}
        leftover: dict[str, Any] = {}
        for name, value in record.items():
            column = name if name in known else self._other_case(name, record, shape)
            if column is None or column in values:
                self._strange(name, value, shape, where, leftover)
                continue
            inner = known[column]
            values[column], left = self._convert(value, inner, (*where, column))
            if left is not ABSENT:
                leftover[name] = left
            if inner.text and name in raw and type(value) is not str:
                values[column] = None if value is None else raw[name]
        for name, again in getattr(record, "again", {}).items():
            others = [leftover[name], *again] if name in leftover else again
            leftover[name] = others[0] if len(others) == 1 else others
        return values, leftover

    def _other_case(self, name: str, record: dict[str, Any], shape: _Shape) -> str | None:
        """The column that the name means when case does not matter."""
        column = None if self.options.case_sensitive else shape.folded.get(name.lower())
        return None if column in record else column

    def _strange(
        self,
        name: str,
        value: Any,
        shape: _Shape,
        where: tuple[str, ...],
        leftover: dict[str, Any],
    ) -> None:
        """A member that fills no column."""
        new = name.lower() not in shape.folded and (where or not self.is_folder(name))
        if new and ("\0" not in name if where else self.options.may_be_column(name)):
            self.unknown[".".join((*where, name))] = None
        if value is not None and (where or not self._as_folder(name, value)):
            leftover[name] = value

    def _convert(self, value: Any, shape: _Shape, where: tuple[str, ...]) -> tuple[Any, Any]:
        """(what goes into the column, what is left over)."""
        if value is None:
            return None, ABSENT
        if shape.convert is not None:
            try:
                return shape.convert(value), ABSENT
            except (ValueError, OverflowError):
                return None, value
        return self._convert_nested(value, shape, where)

    def _convert_nested(self, value: Any, shape: _Shape, where: tuple[str, ...]) -> tuple[Any, Any]:
        if shape.key is not None:
            return self._map(value, shape, where)
        if shape.element is not None:
            return self._list(value, shape.element, where)
        if not isinstance(value, dict):
            return None, value
        values, leftover = self._members(value, shape, where)
        return values, leftover or ABSENT

    def _list(self, value: Any, element: _Shape, where: tuple[str, ...]) -> tuple[Any, Any]:
        if not isinstance(value, list):
            return None, value
        pairs = [self._convert(item, element, where) for item in value]
        clean = all(left is ABSENT for _, left in pairs)
        return [converted for converted, _ in pairs], ABSENT if clean else value

    def _map(self, value: Any, shape: _Shape, where: tuple[str, ...]) -> tuple[Any, Any]:
        assert shape.key is not None
        assert shape.element is not None
        if not isinstance(value, dict):
            return None, value
        entries: list[tuple[Any, Any]] = []
        leftover: dict[str, Any] = {}
        for name, item in value.items():
            key, misfit = self._convert(name if shape.key.text else Number(name), shape.key, where)
            if misfit is not ABSENT:
                leftover[name] = item
                continue
            converted, left = self._convert(item, shape.element, where)
            entries.append((key, converted))
            if left is not ABSENT:
                leftover[name] = left
        leftover.update(getattr(value, "again", {}))
        return entries, leftover or ABSENT


@dataclass
class _Shape:
    """A type, laid out so that converting a value asks nothing of Arrow."""

    convert: Convert | None = None
    """Of a simple type."""
    text: bool = False
    members: dict[str, _Shape] = field(default_factory=dict)
    folded: dict[str, str] = field(default_factory=dict)
    """Members' names by their lower case."""
    element: _Shape | None = None
    """Of a list, or a map's values."""
    key: _Shape | None = None

    @classmethod
    def of(cls, type_: pa.DataType, options: ReaderOptions) -> _Shape:
        kinds = pa.types
        if kinds.is_struct(type_):
            return cls.struct(type_, options)
        if kinds.is_list(type_):
            return cls(element=cls.of(type_.value_type, options))
        if kinds.is_map(type_):
            return cls(
                element=cls.of(type_.item_type, options), key=cls.of(type_.key_type, options)
            )
        return cls(scalar(type_, options), kinds.is_string(type_))

    @classmethod
    def struct(cls, fields: Iterable[pa.Field], options: ReaderOptions) -> _Shape:
        members = {f.name: cls.of(f.type, options) for f in fields}
        return cls(members=members, folded={name.lower(): name for name in members})


def array_objects(value: Any) -> list[Any]:
    """The objects of a line that is an array of them; ValueError when it is anything else."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("it is not a JSON object")
    return value
