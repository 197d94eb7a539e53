"""One record at a time, exactly: where every part of a dirty record ends up.

The vectorised readers hand over only the records that they cannot take. What fits the schema goes
into its columns; what does not fit is rescued, as JSON, so that nothing is lost.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from typing import Any, NoReturn

import pyarrow as pa

from proa.autoloader.discovery import partition_values
from proa.autoloader.options import Mode, ReaderOptions
from proa.autoloader.problems import Problem, ProblemKind, ReadError
from proa.autoloader.readers.times import parse_date, parse_timestamp

_DEPTH = 200
"""How deeply a record may be nested before it counts as malformed."""


class Number(str):
    """A JSON number as it was written: no digit is lost."""

    __slots__ = ()


class Members(dict[str, Any]):
    """A JSON object.

    `again` holds the values of names that came more than once; `raw`, for a record itself, the
    text of each member's value as it was written.
    """

    __slots__ = ("again", "raw")

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        super().__init__()
        self.again: dict[str, list[Any]] = {}
        self.raw: dict[str, str] = {}
        for name, value in pairs:
            if name in self:
                self.again.setdefault(name, []).append(value)
            else:
                self[name] = value


class _Absent:
    """Nothing was left over."""


ABSENT = _Absent()


_DECODER = json.JSONDecoder(
    parse_float=Number, parse_int=Number, parse_constant=Number, object_pairs_hook=Members
)
_scan_once: Callable[[str, int], tuple[Any, int]] = _DECODER.scan_once  # type: ignore[attr-defined]
_scan_string = json.decoder.scanstring  # type: ignore[attr-defined]
_BLANK = re.compile(r"[ \t\r\n]*")


def parse(text: str) -> Any:
    """The JSON value, numbers as `Number`, objects as `Members`; ValueError when it is none."""
    with _sound(text):
        return _DECODER.decode(text)


def parse_record(text: str) -> Members | None:
    """The JSON object with `raw` filled; None when the value is no object.

    ValueError when it is no JSON.
    """
    with _sound(text):
        at = _skip(text, 0)
        if text[at : at + 1] != "{":
            _DECODER.decode(text)
            return None
        pairs: list[tuple[str, Any]] = []
        raw: dict[str, str] = {}
        at = _skip(text, at + 1)
        while text[at : at + 1] != "}" or pairs:
            if text[at : at + 1] != '"':
                raise ValueError(f"a name is expected at character {at}")
            name, at = _scan_string(text, at + 1, True)
            at = _skip(text, at)
            if text[at : at + 1] != ":":
                raise ValueError(f"':' is expected at character {at}")
            begin = _skip(text, at + 1)
            try:
                value, at = _scan_once(text, begin)
            except StopIteration:
                raise ValueError(f"a value is expected at character {begin}") from None
            pairs.append((name, value))
            raw.setdefault(name, text[begin:at])
            at = _skip(text, at)
            if text[at : at + 1] == "}":
                break
            if text[at : at + 1] != ",":
                raise ValueError(f"',' or '}}' is expected at character {at}")
            at = _skip(text, at + 1)
        if _skip(text, at + 1) != len(text):
            raise ValueError(f"there is more after character {at}")
        record = Members(pairs)
        record.raw = raw
        return record


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


@contextmanager
def _sound(text: str) -> Iterator[None]:
    """Refuse, as ValueError, what Python's parser takes and no column can hold."""
    try:
        yield
        if "\\ud" in text.lower():
            json.dumps(json.loads(text), ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it has half a surrogate pair") from None


def dump(value: Any) -> str:
    """The value as compact JSON; numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        members = [f"{_quoted(name)}:{dump(item)}" for name, item in value.items()]
        for name, items in getattr(value, "again", {}).items():
            members += [f"{_quoted(name)}:{dump(item)}" for item in items]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return _quoted(value)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


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
    unknown: dict[str, None] = field(default_factory=dict)

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
            return [row for item in _objects(parse(text)) for row in self.row(item, text)]
        except UnicodeDecodeError:
            return self.corrupt(line.decode("utf-8", "backslashreplace"), "it is not UTF-8")
        except ValueError as error:
            return self.corrupt(line.decode("utf-8"), str(error))

    def row(self, record: dict[str, Any], text: str) -> list[dict[str, Any]]:
        """The row of one record: none when the mode drops it."""
        values, leftover = self._members(record, self.schema, ())
        if self.unknown and self.options.evolution.stops:
            self.stop()
        return self._finish(record, values, leftover, text)

    def is_folder(self, name: str) -> bool:
        """Whether a folder's name fills the column."""
        return name.lower() in self.options.partitions

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
        return self._convert(value, column.type, (column.name,))

    def stop(self) -> NoReturn:
        """Tell the driver of the new fields."""
        raise ReadError(Problem(ProblemKind.NEW_FIELDS, self.path, fields=tuple(self.unknown)))

    def _finish(
        self, record: dict[str, Any], values: dict[str, Any], leftover: dict[str, Any], text: str
    ) -> list[dict[str, Any]]:
        options = self.options
        if leftover and options.rescued_column is None and not self._only_unknown(leftover):
            if options.mode is Mode.DROP:
                return []
            if options.mode is Mode.FAIL:
                self.malformed(f"{next(iter(leftover))!r} does not have its column's type")
            if options.corrupt_column in self.hidden:
                values[options.corrupt_column] = text.strip("\r\n")
        if leftover and options.rescued_column is not None:
            values[options.rescued_column] = rescued(leftover, self.file, record)
        return [values]

    def _only_unknown(self, leftover: dict[str, Any]) -> bool:
        names = {f.name for f in self.schema if f.name not in self.hidden}
        return not any(name in names for name in leftover)

    def corrupt(self, text: str, reason: str) -> list[dict[str, Any]]:
        """The row of something that is no record at all."""
        options = self.options
        if options.mode is Mode.DROP:
            return []
        if options.mode is Mode.FAIL:
            self.malformed(f"{reason}: {text.strip()[:100]!r}")
        text = text.strip("\r\n")
        if options.corrupt_column in self.hidden:
            return [{options.corrupt_column: text}]
        if options.rescued_column is not None:
            return [{options.rescued_column: rescued({options.corrupt_column: text}, self.file)}]
        return [{}]

    def widen(self, column: str, type_: pa.DataType) -> NoReturn:
        """Tell the driver of a type that Delta can widen the column to."""
        raise ReadError(Problem(ProblemKind.WIDER, self.path, str(type_), (column,)))

    def malformed(self, detail: str) -> NoReturn:
        """Fail, as the mode FAILFAST wants it."""
        raise ReadError(Problem(ProblemKind.MALFORMED, self.path, detail))

    def _members(
        self, record: dict[str, Any], fields: Iterable[pa.Field], where: tuple[str, ...]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        known = {f.name: f.type for f in fields if where or f.name not in self.hidden}
        folded = {name.lower(): name for name in known}
        raw = getattr(record, "raw", {})
        values: dict[str, Any] = {}
        leftover: dict[str, Any] = {}
        for name, value in record.items():
            column = name if name in known else folded.get(name.lower())
            fits = column == name or (column is not None and not self.options.case_sensitive)
            if column is None or not fits or (column != name and column in record):
                if column is None and not (self.is_folder(name) and not where):
                    self.unknown[".".join((*where, name))] = None
                if value is not None and (where or not self._as_folder(name, value)):
                    leftover[name] = value
                continue
            if column in values:
                leftover[name] = value
                continue
            values[column], left = self._convert(value, known[column], (*where, column))
            if left is not ABSENT:
                leftover[name] = left
            if name in raw and known[column] == pa.string() and type(value) is not str:
                values[column] = None if value is None else raw[name]
        for name, again in getattr(record, "again", {}).items():
            others = [leftover[name], *again] if name in leftover else again
            leftover[name] = others[0] if len(others) == 1 else others
        return values, leftover

    def _convert(self, value: Any, type_: pa.DataType, where: tuple[str, ...]) -> tuple[Any, Any]:
        """(what goes into the column, what is left over)."""
        if value is None:
            return None, ABSENT
        if pa.types.is_nested(type_):
            return self._nested(value, type_, where)
        try:
            return scalar(value, type_, self.options), ABSENT
        except (ValueError, OverflowError):
            return None, value

    def _nested(self, value: Any, type_: pa.DataType, where: tuple[str, ...]) -> tuple[Any, Any]:
        if pa.types.is_list(type_):
            return self._list(value, type_, where)
        if pa.types.is_map(type_):
            return self._map(value, type_, where)
        if not isinstance(value, dict):
            return None, value
        values, leftover = self._members(value, type_, where)
        return values, leftover or ABSENT

    def _list(self, value: Any, type_: pa.DataType, where: tuple[str, ...]) -> tuple[Any, Any]:
        if not isinstance(value, list):
            return None, value
        pairs = [self._convert(item, type_.value_type, (*where, "element")) for item in value]
        clean = all(left is ABSENT for _, left in pairs)
        return [converted for converted, _ in pairs], ABSENT if clean else value

    def _map(self, value: Any, type_: pa.DataType, where: tuple[str, ...]) -> tuple[Any, Any]:
        if not isinstance(value, dict):
            return None, value
        entries: list[tuple[Any, Any]] = []
        leftover: dict[str, Any] = {}
        for name, item in value.items():
            try:
                key = scalar(_as_json(name, type_.key_type), type_.key_type, self.options)
            except (ValueError, OverflowError):
                leftover[name] = item
                continue
            converted, left = self._convert(item, type_.item_type, (*where, "value"))
            entries.append((key, converted))
            if left is not ABSENT:
                leftover[name] = left
        leftover.update(getattr(value, "again", {}))
        return entries, leftover or ABSENT


def _objects(value: Any) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("it is not a JSON object")
    return value


def _as_json(name: str, type_: pa.DataType) -> Any:
    return name if pa.types.is_string(type_) else Number(name)


def rescued(leftover: dict[str, Any], file: str, record: Mapping[str, Any] | None = None) -> str:
    """The value of the rescued data column: a JSON object, nested values as JSON text in it.

    Members that are rescued whole keep the text that they have in `record`.
    """
    raw = getattr(record, "raw", {})
    members = []
    for name, value in sorted(leftover.items()):
        whole = record is not None and name in raw and record.get(name) is value
        text = raw[name] if whole else dump(value)
        nested = isinstance(value, (dict, list))
        members.append(rescued_member(name, _quoted(text) if nested else text))
    return "{" + ",".join([*members, rescued_member("_file_path", _quoted(file))]) + "}"


def rescued_member(name: str, text: str) -> str:
    """One member of the rescued data, before the next one's comma."""
    return f"{_quoted(name)}:{text}"


_RANGES = {
    pa.int8(): 2**7,
    pa.int16(): 2**15,
    pa.int32(): 2**31,
    pa.int64(): 2**63,
}
_NOT_FINITE = {
    "NaN": math.nan,
    "Infinity": math.inf,
    "+Infinity": math.inf,
    "-Infinity": -math.inf,
    "INF": math.inf,
    "+INF": math.inf,
    "-INF": -math.inf,
}


def scalar(value: Any, type_: pa.DataType, options: ReaderOptions) -> Any:
    """The JSON value as a value of a simple type; ValueError when it is none."""
    kinds = pa.types
    if kinds.is_string(type_):
        return value if isinstance(value, str) else dump(value)
    if kinds.is_boolean(type_):
        return _checked(value, bool, lambda found: found)
    if isinstance(value, Number):
        return _number(value, type_)
    if kinds.is_floating(type_) and isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    return _checked(value, str, lambda text: _from_text(text, type_, options))


def _number(value: Number, type_: pa.DataType) -> Any:
    kinds = pa.types
    if kinds.is_integer(type_):
        return _integer(value, _RANGES[type_])
    if kinds.is_floating(type_):
        return float(value)
    if kinds.is_decimal(type_):
        return decimal(value, type_)
    if kinds.is_timestamp(type_):
        return _integer(value, 2**63 // 1_000_000) * 1_000_000
    raise ValueError(value)


def _from_text(text: str, type_: pa.DataType, options: ReaderOptions) -> Any:
    kinds = pa.types
    if kinds.is_timestamp(type_):
        return parse_timestamp(text, options.timestamp_format)
    if kinds.is_date(type_):
        return parse_date(text, options.date_format)
    if kinds.is_decimal(type_):
        return decimal(text, type_)
    if kinds.is_binary(type_):
        return _binary(text)
    raise ValueError(text)


def _checked(value: Any, kind: type, convert: Callable[[Any], Any]) -> Any:
    if not isinstance(value, kind):
        raise ValueError(repr(value))  # noqa: TRY004 - a mismatch of the data, not of the program
    return convert(value)


def _integer(value: Number, bound: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,30}", value) or not -bound <= int(value) < bound:
        raise ValueError(value)
    return int(value)


def decimal(text: str, type_: pa.DataType) -> Decimal:
    """The text as a decimal of the type, rounded half up; ValueError when it does not fit."""
    with localcontext() as context:
        context.prec = 80
        try:
            found = Decimal(text.strip())
            if not found.is_finite() or found.adjusted() > 40:
                raise ValueError(text)
            found = found.quantize(Decimal(1).scaleb(-type_.scale), rounding=ROUND_HALF_UP)
        except InvalidOperation:
            raise ValueError(text) from None
        if found and found.adjusted() + 1 > type_.precision - type_.scale:
            raise ValueError(text)
        return found


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error
