"""JSON as Spark reads and writes it."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from proa.engine.parity.kernels import Array, SparkError, each, kernel
from proa.engine.parity.kernels_casts import date_of, double_text, float_text, timestamp_of
from proa.lazy import compute as pc

_ABSENT = object()


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


class _Members(list[tuple[str, Any]]):
    """The members of an object, in their order, with names that repeat."""


def _constant(text: str) -> Any:
    raise ValueError(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Members,
    parse_int=_Number,
    parse_float=_Number,
    parse_constant=_constant,
    strict=False,
)


_LENIENT = json.JSONDecoder(
    object_pairs_hook=_Members,
    parse_int=_Number,
    parse_float=_Number,
    parse_constant=_Number,
    strict=False,
)
"""Takes NaN and Infinity for numbers."""


def parsed(text: str, decoder: json.JSONDecoder = _DECODER) -> Any:
    """The value that a text is; _ABSENT if it is not JSON."""
    try:
        value, _ = decoder.raw_decode(text.lstrip(" \t\r\n"))
    except (ValueError, RecursionError):
        if "'" not in text:
            return _ABSENT
        try:
            value, _ = decoder.raw_decode(_SINGLE.sub(_double_backslashes, text).lstrip(" \t\r\n"))
        except (ValueError, RecursionError):
            return _ABSENT
    return value


_SINGLE = re.compile(r'("(?:[^"\\]|\\.)*")|\'((?:[^\'\\]|\\.)*)\'')


def _double_backslashes(match: re.Match[str]) -> str:
    if match.group(1) is not None:
        return match.group(1)
    return '"' + match.group(2).replace('"', '\\"').replace("\\'", "'") + '"'


def _whole(text: str) -> Any:
    """As `parsed`, but nothing may follow."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return _ABSENT


_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\['([^']*)'\]|(\[\*\])|(\.\*)")


@functools.lru_cache(1024)
def _steps(path: str) -> list[Any] | None:
    if not path.startswith("$"):
        return None
    steps: list[Any] = []
    at = 1
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            return None
        name, index, quoted, every, _members = match.groups()
        steps.append(
            name if name is not None else int(index) if index is not None
            else quoted if quoted is not None else "[*]" if every else None
        )  # fmt: skip
        if name == "*" or steps[-1] is None:
            steps[-1] = ".*"
        at = match.end()
    return steps


def written(value: Any) -> str:
    """A JSON value without spaces, numbers as Spark's reader writes them again."""
    if isinstance(value, _Members):
        return "{" + ",".join(f"{_quote(k)}:{written(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, _Number):
        return _number(value)
    if isinstance(value, str):
        return _quote(value)
    return "null" if value is None else "true" if value else "false"


_WHOLE = re.compile(r"-?\d+")


def _number(text: str) -> str:
    if _WHOLE.fullmatch(text):
        return str(int(text)) if text != "-0" else "0"
    return double_text(float(text))


_ESCAPED = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\b": "\\b",
    "\f": "\\f",
}


def _quote(text: str) -> str:
    return (
        '"' + "".join(_ESCAPED.get(c, f"\\u{ord(c):04X}" if ord(c) < 32 else c) for c in text) + '"'
    )


def _found(value: Any, steps: list[Any]) -> list[Any]:
    """The values at a path."""
    if not steps:
        return [value]
    step, rest = steps[0], steps[1:]
    if step == "[*]":
        if not isinstance(value, list) or isinstance(value, _Members):
            return []
        return [hit for item in value for hit in _found(item, rest)]
    if isinstance(step, int):
        if isinstance(value, list) and not isinstance(value, _Members) and step < len(value):
            return _found(value[step], rest)
        return []
    if isinstance(value, _Members):
        for name, member in value:
            if name == step and member is not None:
                return _found(member, rest)
    return []


def json_object(text: str, path: str) -> str | None:
    """What get_json_object answers."""
    steps = _steps(path)
    value = parsed(text)
    if steps is None or value is _ABSENT or text.strip() == "":
        return None
    if value is None and not steps:
        return "null"
    if "[*]" not in steps:
        hit = _at(value, steps)
        return hit if hit is None or type(hit) is str else written(hit)
    hits = _found(value, steps)
    if not hits:
        return None
    if len(hits) == 1:
        return written(hits[0])
    return "[" + ",".join(map(written, hits)) + "]"


def _at(value: Any, steps: list[Any]) -> Any:
    """The value at a path of names and places; None where there is none."""
    for step in steps:
        if isinstance(step, int):
            places = value if type(value) is list and step < len(value) else ()
            value = places[step] if places else None
        elif type(value) is _Members:
            value = next((v for name, v in value if name == step and v is not None), None)
        else:
            return None
    return value


@kernel
def get_json_object(type_: Any, array: Array, path: Array) -> Array:
    return each(json_object, type_, array, path)


@kernel
def json_array_length(type_: Any, array: Array) -> Array:
    def one(text: str) -> int | None:
        value = _whole(text)
        return len(value) if isinstance(value, list) and not isinstance(value, _Members) else None

    return each(one, type_, array)


@kernel
def json_object_keys(type_: Any, array: Array) -> Array:
    def one(text: str) -> list[str] | None:
        value = parsed(text)
        return [name for name, _ in value] if isinstance(value, _Members) else None

    return each(one, type_, array)


# -- to_json ------------------------------------------------------------------------------------------


def _writer(kind: Any) -> Callable[[Any], str]:
    if pa.types.is_boolean(kind):
        return lambda v: "true" if v else "false"
    if pa.types.is_integer(kind):
        return str
    if pa.types.is_floating(kind):
        shown = float_text if pa.types.is_float32(kind) else double_text
        return lambda v: shown(v) if abs(v) < float("inf") else f'"{shown(v)}"'
    if pa.types.is_decimal(kind):
        return str
    if pa.types.is_date(kind):
        return lambda v: f'"{v.year:04d}-{v.month:02d}-{v.day:02d}"'
    if pa.types.is_timestamp(kind):
        return _moment if kind.tz is not None else lambda v: _moment(v)[:-2] + '"'
    if pa.types.is_binary(kind):
        import base64

        return lambda v: f'"{base64.b64encode(v).decode()}"'
    if pa.types.is_list(kind):
        item = _writer(kind.value_type)
        return lambda v: "[" + ",".join("null" if i is None else item(i) for i in v) + "]"
    if pa.types.is_map(kind):
        from proa.engine.parity.kernels_casts import texts

        value = _writer(kind.item_type)

        def pair(k: Any, v: Any) -> str:
            name = str(texts(pa.array([k], kind.key_type))[0])
            return f"{_quote(name)}:{'null' if v is None else value(v)}"

        return lambda v: "{" + ",".join(pair(k, i) for k, i in v) + "}"
    if pa.types.is_struct(kind):
        writers = [
            (kind.field(k).name, _writer(kind.field(k).type)) for k in range(kind.num_fields)
        ]
        return lambda v: (
            "{"
            + ",".join(
                f"{_quote(name)}:{write(v[name])}" for name, write in writers if v[name] is not None
            )
            + "}"
        )
    return lambda v: _quote(str(v))


def _moment(value: datetime) -> str:
    text = f"{value.year:04d}-{value.month:02d}-{value.day:02d}T{value:%H:%M:%S}"
    fraction = f"{value.microsecond:06d}"[:3]
    return f'"{text}.{fraction}Z"'


@kernel
def to_json(type_: Any, array: Array) -> Array:
    write = _writer(array.type)
    return pa.array([None if v is None else write(v) for v in array.to_pylist()], type_)


# -- from_json ----------------------------------------------------------------------------------------


class _MisfitError(Exception):
    """A value that is not of the type asked for."""


_NOT_FINITE = {
    name: float(name.replace("INF", "Infinity"))
    for name in ("NaN", "Infinity", "-Infinity", "+Infinity", "INF", "-INF", "+INF")
}


@functools.lru_cache(256)
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What makes a value of the type of a JSON value that is not null; raises _MisfitError."""
    if pa.types.is_string(kind):
        return lambda value: value if type(value) is str else written(value)
    if pa.types.is_integer(kind):
        return functools.partial(_whole_number, 1 << (kind.bit_width - 1))
    if pa.types.is_floating(kind):
        return _floating
    if pa.types.is_decimal(kind):
        return functools.partial(_decimal, kind)
    if pa.types.is_date(kind):
        return functools.partial(_time, date_of)
    if pa.types.is_timestamp(kind):
        return functools.partial(_time, functools.partial(timestamp_of, zoned=kind.tz is not None))
    if pa.types.is_map(kind) and pa.types.is_string(kind.key_type):
        return functools.partial(_pairs, _reader(kind.item_type))
    if pa.types.is_map(kind):
        return functools.partial(_instance, ())
    if pa.types.is_list(kind):
        return functools.partial(_items, _reader(kind.value_type))
    if pa.types.is_struct(kind):
        return functools.partial(_fields, _readers(kind))
    return functools.partial(_instance, bool if pa.types.is_boolean(kind) else ())


def _instance(wanted: Any, value: Any) -> Any:
    if isinstance(value, wanted):
        return value
    raise _MisfitError


def _whole_number(limit: int, value: Any) -> int:
    if type(value) is _Number and _WHOLE.fullmatch(value):
        whole = int(value)
        if -limit <= whole < limit:
            return whole
    raise _MisfitError


def _floating(value: Any) -> float:
    if type(value) is _Number:
        return float(value)
    if type(value) is str and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    raise _MisfitError


def _decimal(kind: Any, value: Any) -> Decimal:
    from proa.engine.parity.kernels_casts import decimal_of

    found = decimal_of(value, kind.precision, kind.scale) if isinstance(value, str) else None
    if found is None:
        raise _MisfitError
    return found


def _time(read: Callable[[str], date | None], value: Any) -> date:
    found = read(value) if type(value) is str else None
    if found is None:
        raise _MisfitError
    return found


def _items(read: Callable[[Any], Any], value: Any) -> list[Any]:
    if type(value) is not list:
        raise _MisfitError
    return [None if item is None else read(item) for item in value]


def _pairs(read: Callable[[Any], Any], value: Any) -> list[tuple[str, Any]]:
    if type(value) is not _Members:
        raise _MisfitError
    return list({k: None if v is None else read(v) for k, v in value}.items())


@functools.lru_cache(256)
def _readers(kind: Any) -> dict[str, Callable[[Any], Any]]:
    return {field.name: _reader(field.type) for field in kind}


def _fields(
    readers: dict[str, Callable[[Any], Any]], value: Any, misfits: list[str] | None = None
) -> dict[str, Any]:
    """The fields of a struct. One that does not fit is NULL; then the others stay.

    `misfits` takes the names of those.
    """
    if type(value) is not _Members:
        raise _MisfitError
    found: dict[str, Any] = dict.fromkeys(readers)
    for name, member in value:
        if name in readers:
            try:
                found[name] = None if member is None else readers[name](member)
            except _MisfitError:
                if misfits is not None:
                    misfits.append(name)
    return found


def _record(text: str, kind: Any, corrupt: str, *, strict: bool) -> dict[str, Any] | None:
    """The struct that a text is. What is wrong with it goes to the field `corrupt`, or is an error."""
    if not text.strip():
        return None
    value = parsed(text, _LENIENT)
    if isinstance(value, list) and not isinstance(value, _Members):
        value = value[0] if len(value) == 1 else _ABSENT
    misfits: list[str] = []
    whole = isinstance(value, _Members)
    found = _fields(_readers(kind), value if whole else _Members(), misfits)
    bad = bool(misfits) or not whole
    if bad and strict:
        raise SparkError("MALFORMED_RECORD_IN_PARSING", f"the JSON {text!r} is not of the schema")
    if corrupt in found:
        found[corrupt] = text if bad else None
    return found


@kernel
def from_json(type_: Any, array: Array) -> Array:
    def one(text: str) -> Any:
        if not text.strip():
            return None
        value = parsed(text, _LENIENT)
        try:
            if pa.types.is_list(type_) and isinstance(value, _Members):
                value = [value]
            return None if value is _ABSENT or value is None else read(value)
        except _MisfitError:
            return None

    read = _reader(type_)
    if pa.types.is_struct(type_):
        return each(
            lambda text: _record(text, type_, "_corrupt_record", strict=False), type_, array
        )
    return each(one, type_, array)


@kernel
def from_json_as(type_: Any, array: Array, corrupt: Array, strict: Array) -> Array:
    """from_json() of a struct with the name of the field for what is wrong, and whether that is an error."""
    if not len(array):
        return pa.array([], type_)
    name, fails = corrupt[0].as_py(), strict[0].as_py()
    return each(lambda text: _record(text, type_, name, strict=fails), type_, array)


@kernel
def json_members(type_: Any, array: Array, *names: Array) -> Array:
    """What json_tuple() answers, as a struct; never NULL itself."""

    def one(text: str, name: str) -> str | None:
        value = parsed(text)
        members = reversed(value) if isinstance(value, _Members) else ()
        member = next((v for k, v in members if k == name), None)
        if member is None:
            return None
        plain = isinstance(member, str) and not isinstance(member, _Number)
        return member if plain else written(member)

    columns = [each(one, pa.string(), array, name) for name in names]
    return pa.StructArray.from_arrays(columns, fields=list(type_))


# -- schema_of_json -----------------------------------------------------------------------------------


def schema_of(text: str) -> str | None:
    """The type of a JSON text as schema_of_json() names it; None for a text that is no JSON."""
    if not text.strip():
        return "STRING"
    value = parsed(text)
    try:
        return None if value is _ABSENT else _shown(_kind(value))
    except _MisfitError:
        return None


def _kind(value: Any) -> Any:
    """The type of a value: a word, a list of one, or a mapping of names; None for NULL."""
    if isinstance(value, _Members):
        if len({name for name, _ in value}) < len(value):
            raise _MisfitError
        return dict(sorted(((name, _kind(member)) for name, member in value), key=lambda x: x[0]))
    if isinstance(value, list):
        kinds = [_kind(item) for item in value]
        return [functools.reduce(_met, kinds) if kinds else None]
    if isinstance(value, _Number):
        if not re.fullmatch(r"-?\d+", value):
            return "DOUBLE"
        digits = len(value.lstrip("-"))
        if -(1 << 63) <= int(value) < 1 << 63:
            return "BIGINT"
        return f"DECIMAL({digits},0)" if digits <= 38 else "DOUBLE"
    return "BOOLEAN" if isinstance(value, bool) else None if value is None else "STRING"


def _met(left: Any, right: Any) -> Any:
    if left is None or left == right:
        return right
    if right is None:
        return left
    if isinstance(left, dict) and isinstance(right, dict):
        names = sorted({*left, *right})
        return {name: _met(left.get(name), right.get(name)) for name in names}
    if isinstance(left, list) and isinstance(right, list):
        return [_met(left[0], right[0])]
    if (
        {left, right} == {"BIGINT", "DOUBLE"}
        if isinstance(left, str) and isinstance(right, str)
        else False
    ):
        return "DOUBLE"
    return "STRING"


def _shown(kind: Any) -> str:
    if isinstance(kind, dict):
        fields = (
            f"{name if re.fullmatch(r'[A-Za-z_][A-Za-z0-9_]*', name) else '`' + name.replace('`', '``') + '`'}"
            f": {_shown(member)}"
            for name, member in kind.items()
        )
        return f"STRUCT<{', '.join(fields)}>"
    if isinstance(kind, list):
        return f"ARRAY<{_shown(kind[0])}>"
    return kind or "STRING"


# -- to_csv -------------------------------------------------------------------------------------------

_BLANKS = "".join(map(chr, range(33)))


def _cell(kind: Any) -> Callable[[Any], str]:
    from proa.engine.parity.kernels_casts import texts

    if pa.types.is_timestamp(kind):
        moment = _writer(kind)
        return lambda v: moment(v)[1:-1]
    if pa.types.is_decimal(kind):
        return str
    if not pa.types.is_string(kind):
        return lambda v: str(texts(pa.array([v], kind))[0])
    return _csv_text


def _csv_text(value: str) -> str:
    value = value.strip(_BLANKS)
    if value and not re.search(r'[,"\n\r]', value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if value else '""'


@kernel
def to_csv(type_: Any, array: Array) -> Array:
    fields = [array.field(k) for k in range(array.type.num_fields)]
    columns = [pc.fill_null(each(_cell(f.type), pa.string(), f), "") for f in fields]
    joined = pc.binary_join_element_wise(*columns, ",")
    return pc.if_else(pc.is_valid(array), joined, pa.scalar(None, pa.string()))
