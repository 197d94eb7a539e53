"""Spark's types: read from text, written as text, and met with one another as Spark does it."""

from __future__ import annotations

import functools
import re
from decimal import Decimal
from typing import Any

from pyspark.sql import types as t

from proa.engine.parity.sql_nodes import DataType, Node
from proa.engine.parity.sql_tokens import Token, UnreadableSqlError, tokens
from proa.text import quote_identifier

_NAMES: dict[str, Any] = {
    "tinyint": t.ByteType(), "byte": t.ByteType(), "smallint": t.ShortType(), "short": t.ShortType(),
    "int": t.IntegerType(), "integer": t.IntegerType(), "bigint": t.LongType(), "long": t.LongType(),
    "float": t.FloatType(), "real": t.FloatType(), "double": t.DoubleType(), "string": t.StringType(),
    "boolean": t.BooleanType(), "date": t.DateType(), "timestamp": t.TimestampType(),
    "timestamp_ltz": t.TimestampType(), "timestamp_ntz": t.TimestampNTZType(),
    "binary": t.BinaryType(), "void": t.NullType(), "decimal": t.DecimalType(10, 0),
    "dec": t.DecimalType(10, 0), "numeric": t.DecimalType(10, 0), "variant": t.VariantType(),
    "char": t.StringType(), "varchar": t.StringType(), "character": t.StringType(),
}  # fmt: skip

BYTE, SHORT, INT, LONG = t.ByteType(), t.ShortType(), t.IntegerType(), t.LongType()
FLOAT, DOUBLE, STRING, BOOLEAN = t.FloatType(), t.DoubleType(), t.StringType(), t.BooleanType()
DATE, TIMESTAMP, NTZ, BINARY, VOID = (
    t.DateType(), t.TimestampType(), t.TimestampNTZType(), t.BinaryType(), t.NullType(),
)  # fmt: skip
DAY_TIME, YEAR_MONTH = t.DayTimeIntervalType(0, 3), t.YearMonthIntervalType(0, 1)
INTEGERS = (t.ByteType, t.ShortType, t.IntegerType, t.LongType)
FLOATS = (t.FloatType, t.DoubleType)
_DIGITS = {t.ByteType: 3, t.ShortType: 5, t.IntegerType: 10, t.LongType: 20}
_MOST = 38


@functools.lru_cache(4096)
def type_of(text: str) -> DataType:
    """The type that SQL names `text`. Raises UnreadableSqlError where that is not one of Spark's."""
    reader = _TypeReader(tokens(text))
    found = reader.type()
    if reader.token.kind != "end":
        raise UnreadableSqlError(text)
    return found


class _TypeReader:
    def __init__(self, found: list[Token]) -> None:
        self.tokens = [
            Token(token.kind, sign, token.start, token.end)
            for token in found
            for sign in (list(token.text) if token.text in {">>", ">>>", "<>"} else [token.text])
        ]
        self.at = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def next(self) -> Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def takes(self, text: str) -> bool:
        if self.token.text.upper() == text and self.token.kind != "end":
            self.at += 1
            return True
        return False

    def needs(self, text: str) -> None:
        if not self.takes(text):
            raise UnreadableSqlError(f"a type at {self.token.text!r}")

    def type(self) -> DataType:
        word = self.next().text.lower()
        if word == "array":
            self.needs("<")
            item = self.type()
            self.needs(">")
            return t.ArrayType(item)
        if word == "map":
            self.needs("<")
            key = self.type()
            self.needs(",")
            value = self.type()
            self.needs(">")
            return t.MapType(key, value)
        if word == "struct":
            return self._struct()
        if word == "interval":
            return self._interval()
        found = _NAMES.get(word)
        if found is None:
            raise UnreadableSqlError(f"the type {word!r}")
        if self.takes("("):
            numbers = [int(self.next().text)]
            while self.takes(","):
                numbers.append(int(self.next().text))
            self.needs(")")
            if isinstance(found, t.DecimalType):
                return t.DecimalType(numbers[0], numbers[1] if len(numbers) > 1 else 0)
        return found

    def _struct(self) -> DataType:
        fields: list[Any] = []
        self.needs("<")
        while not self.takes(">"):
            token = self.next()
            name = token.text[1:-1] if token.kind == "quoted" else token.text
            self.takes(":")
            fields.append(t.StructField(name, self.type()))
            if self.takes("NOT"):
                self.needs("NULL")
            if self.takes("COMMENT"):
                self.next()
            self.takes(",")
        return t.StructType(fields)

    def _interval(self) -> DataType:
        names = ["year", "month", "day", "hour", "minute", "second"]
        first = self.next().text.lower()
        last = self.next().text.lower() if self.takes("TO") else first
        if first not in names or last not in names:
            raise UnreadableSqlError("a type of interval")
        a, b = names.index(first), names.index(last)
        if b <= 1:
            return t.YearMonthIntervalType(a, b)
        return t.DayTimeIntervalType(a - 2, b - 2)


def type_text(type_: DataType) -> str:
    """The type as SQL writes it."""
    if isinstance(type_, t.StructType):
        fields = ",".join(
            f"`{f.name.replace('`', '``')}`:{type_text(f.dataType)}" for f in type_.fields
        )
        return f"struct<{fields}>"
    if isinstance(type_, t.ArrayType):
        return f"array<{type_text(type_.elementType)}>"
    if isinstance(type_, t.MapType):
        return f"map<{type_text(type_.keyType)},{type_text(type_.valueType)}>"
    return re.sub(r" collate \w+", "", type_.simpleString())


def same(left: DataType, right: DataType) -> bool:
    """Whether two types are the same but for what may be NULL."""
    return left is not None and right is not None and type_text(left) == type_text(right)


def is_integer(type_: DataType) -> bool:
    return isinstance(type_, INTEGERS)


def is_float(type_: DataType) -> bool:
    return isinstance(type_, FLOATS)


def is_decimal(type_: DataType) -> bool:
    return isinstance(type_, t.DecimalType)


def is_number(type_: DataType) -> bool:
    return isinstance(type_, (*INTEGERS, *FLOATS, t.DecimalType))


def is_string(type_: DataType) -> bool:
    return isinstance(type_, (t.StringType, t.CharType, t.VarcharType))


def is_void(type_: DataType) -> bool:
    return isinstance(type_, t.NullType)


def as_decimal(type_: DataType, value: Any = None) -> DataType:
    """The decimal type that holds an integer; that of its digits when it is a literal."""
    if is_decimal(type_):
        return type_
    if isinstance(value, int) and not isinstance(value, bool):
        return t.DecimalType(max(1, len(str(abs(value)))), 0)
    return t.DecimalType(_DIGITS[type(type_)], 0)


def adjusted_decimal(precision: int, scale: int) -> DataType:
    """A decimal's type cut to 38 digits, as Spark does it with loss of precision allowed."""
    if precision <= _MOST:
        return t.DecimalType(precision, scale)
    kept = max(_MOST - (precision - scale), min(scale, 6))
    return t.DecimalType(_MOST, kept)


def bounded_decimal(precision: int, scale: int) -> DataType:
    return t.DecimalType(min(precision, _MOST), min(scale, _MOST))


def arithmetic(sign: str, a: DataType, b: DataType) -> DataType:
    """The result type of an operator over two decimals."""
    p1, s1, p2, s2 = a.precision, a.scale, b.precision, b.scale
    if sign in "+-":
        scale = max(s1, s2)
        return adjusted_decimal(max(p1 - s1, p2 - s2) + scale + 1, scale)
    if sign == "*":
        return adjusted_decimal(p1 + p2 + 1, s1 + s2)
    if sign == "/":
        scale = max(6, s1 + p2 + 1)
        return adjusted_decimal(p1 - s1 + s2 + scale, scale)
    scale = max(s1, s2)
    return adjusted_decimal(min(p1 - s1, p2 - s2) + scale, scale)


def wider_decimal(a: DataType, b: DataType) -> DataType:
    scale = max(a.scale, b.scale)
    whole = max(a.precision - a.scale, b.precision - b.scale)
    if whole + scale > _MOST:
        return (
            t.DecimalType(_MOST, max(0, _MOST - whole))
            if whole < _MOST
            else t.DecimalType(_MOST, 0)
        )
    return t.DecimalType(whole + scale, scale)


def common(a: DataType, b: DataType) -> DataType | None:
    """The type in which two types meet under ANSI; None where they do not."""
    if same(a, b):
        return a
    if is_void(a):
        return b
    if is_void(b):
        return a
    if is_integer(a) and is_integer(b):
        return a if INTEGERS.index(type(a)) > INTEGERS.index(type(b)) else b
    if is_number(a) and is_number(b):
        if is_float(a) or is_float(b):
            return FLOAT if isinstance(a, t.FloatType) and isinstance(b, t.FloatType) else DOUBLE
        return wider_decimal(as_decimal(a), as_decimal(b))
    if is_string(a) or is_string(b):
        other = b if is_string(a) else a
        if is_integer(other):
            return LONG
        if is_float(other) or is_decimal(other):
            return DOUBLE
        if isinstance(other, (t.ArrayType, t.MapType, t.StructType)):
            return None
        return other
    times = (t.DateType, t.TimestampNTZType, t.TimestampType)
    if isinstance(a, times) and isinstance(b, times):
        return a if times.index(type(a)) > times.index(type(b)) else b
    if isinstance(a, t.ArrayType) and isinstance(b, t.ArrayType):
        item = common(a.elementType, b.elementType)
        return None if item is None else t.ArrayType(item)
    if isinstance(a, t.MapType) and isinstance(b, t.MapType):
        key, value = common(a.keyType, b.keyType), common(a.valueType, b.valueType)
        return None if key is None or value is None else t.MapType(key, value)
    if isinstance(a, t.StructType) and isinstance(b, t.StructType) and len(a) == len(b):
        met = [common(x.dataType, y.dataType) for x, y in zip(a.fields, b.fields, strict=True)]
        if None not in met:
            return t.StructType(
                [t.StructField(x.name, m) for x, m in zip(a.fields, met, strict=True)]
            )
    if isinstance(a, t.DayTimeIntervalType) and isinstance(b, t.DayTimeIntervalType):
        return t.DayTimeIntervalType(min(a.startField, b.startField), max(a.endField, b.endField))
    if isinstance(a, t.YearMonthIntervalType) and isinstance(b, t.YearMonthIntervalType):
        return t.YearMonthIntervalType(min(a.startField, b.startField), max(a.endField, b.endField))
    return None


def decimal_type(value: Decimal) -> t.DecimalType:
    """The smallest type that holds the value as it is written."""
    _, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    return t.DecimalType(min(38, max(len(digits) + max(int(exponent), 0), scale)), scale)


def field_type(type_: DataType, name: str) -> DataType:
    """The type of a struct's field; that of the field in all items for an array of structs."""
    if isinstance(type_, t.ArrayType):
        inner = field_type(type_.elementType, name)
        return None if inner is None else t.ArrayType(inner)
    if isinstance(type_, t.MapType):
        return type_.valueType
    if isinstance(type_, t.StructType):
        return next(
            (f.dataType for f in type_.fields if f.name.casefold() == name.casefold()), None
        )
    return None


def keys_of_maps(node: Node, kept: int, type_: DataType) -> Node | None:
    """`map.key` and what is behind it as the engine reads it. Returns None for a column without maps.

    `kept` of the column's parts name a column of the type `type_`.
    """
    through, types = type_, []
    for name in node.parts[kept:]:
        types.append(through)
        through = field_type(through, name)
    if not any(isinstance(each, t.MapType) for each in types):
        return None
    message = None
    if node.message is not None:
        message = type(node.message)()
        message.CopyFrom(node.message)
        parts = ".".join(map(quote_identifier, node.parts[:kept]))
        message.unresolved_attribute.unparsed_identifier = parts
    found = Node(
        "column", node.parts[kept - 1], [], type_, parts=node.parts[:kept], message=message
    )
    for each, name in zip(types, node.parts[kept:], strict=True):
        if isinstance(each, t.MapType):
            key = Node("literal", "string", [], STRING, value=name)
            found = Node("access", "[", [found, key], each.valueType)
        else:
            found = Node("access", ".", [found], field_type(each, name), value=name)
    return found
