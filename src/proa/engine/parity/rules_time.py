"""Dates, times and their fields."""

from __future__ import annotations

import re

from pyspark.sql import types as t

from proa.engine.parity import spark_types as st
from proa.engine.parity.coerce import call_as, known_types, refuse, spark_cast
from proa.engine.parity.date_patterns import DatePatternError, check_reading, pieces_of
from proa.engine.parity.rule_base import (
    INTERVALS,
    MOMENTS,
    NARROW,
    cast_same,
    coerce_arguments,
    constant_of,
    guard_null,
    implicit,
    rule,
)
from proa.engine.parity.sql_nodes import Node, call, cast, kernel, literal
from proa.engine.parity.typist import Typist


@rule("weekday", "dayofweek", "extract", "date_part", "datepart")
def _date_field(node: Node, typist: Typist) -> Node | None:
    if node.name in {"weekday", "dayofweek"}:
        return kernel(node.name, st.INT, implicit(node.args[0], st.DATE, node))
    if node.name == "extract" and len(node.args) == 1:
        field_name, arg = str(node.value), node.args[0]
    else:
        field_name, arg = constant_of(node.args[0]), node.args[1]
        if not isinstance(field_name, str):
            raise refuse(
                f"{node.name}() of a field that is not a constant",
                "write the field as a text",
                node,
            )
    field_name = _FIELDS.get(field_name.lower(), "")
    (a,) = known_types(arg)
    if isinstance(a, t.DayTimeIntervalType) and field_name in _INTERVAL_PARTS:
        part = "day" if field_name == "dayofmonth" else field_name
        return kernel("interval_part", _INTERVAL_PARTS[field_name], arg, literal(part))
    if isinstance(a, INTERVALS) or not field_name:
        raise refuse(
            f"{node.name}() of this field of {st.type_text(a)}",
            "extract it from a date or a timestamp",
            node,
        )
    clock = field_name in {"hour", "minute", "second"}
    value = implicit(
        arg,
        st.TIMESTAMP
        if clock and not isinstance(a, t.TimestampNTZType)
        else st.NTZ
        if clock
        else st.DATE,
        node,
    )
    if field_name == "second":
        return kernel("second_part", t.DecimalType(8, 6), value)
    if clock:
        return call_as(call(field_name, value), st.INT)
    return kernel(field_name, st.INT, value)


_INTERVAL_PARTS = {"dayofmonth": st.INT, "hour": st.BYTE, "minute": st.BYTE,
                   "second": t.DecimalType(8, 6)}  # fmt: skip
_FIELDS = {
    **dict.fromkeys(("year", "y", "years", "yr", "yrs"), "year"),
    "yearofweek": "yearofweek",
    **dict.fromkeys(("quarter", "qtr"), "quarter"),
    **dict.fromkeys(("month", "mon", "mons", "months"), "month"),
    **dict.fromkeys(("week", "w", "weeks"), "weekofyear"),
    **dict.fromkeys(("day", "d", "days"), "dayofmonth"),
    **dict.fromkeys(("dayofweek", "dow"), "dayofweek"),
    **dict.fromkeys(("dayofweek_iso", "dow_iso"), "dayofweek_iso"),
    "doy": "dayofyear",
    **dict.fromkeys(("hour", "h", "hours", "hr", "hrs"), "hour"),
    **dict.fromkeys(("minute", "m", "min", "mins", "minutes"), "minute"),
    **dict.fromkeys(("second", "s", "sec", "seconds", "secs"), "second"),
}


@rule("unix_seconds", "unix_millis")
def _unix_units(node: Node, typist: Typist) -> Node | None:
    if not isinstance(known_types(node.args[0])[0], (t.TimestampType, t.NullType)):
        raise refuse(f"{node.name}() of another type than timestamp", "cast it to timestamp", node)
    name = "seconds" if node.name == "unix_seconds" else "milliseconds"
    return kernel(name, st.LONG, cast(node.args[0], st.TIMESTAMP))


@rule("trunc")
def _trunc(node: Node, typist: Typist) -> Node | None:
    unit = constant_of(node.args[1])
    if not isinstance(unit, str):
        raise refuse("trunc() to a unit that is not a constant", "write the unit as a text", node)
    if unit.lower() not in {"year", "yyyy", "yy", "quarter", "month", "mon", "mm", "week"}:
        return literal(None, st.DATE)
    return kernel(
        "date_trunc_of", st.DATE, implicit(node.args[0], st.DATE, node), literal(unit.lower())
    )


@rule("datediff", "date_diff")
def _datediff(node: Node, typist: Typist) -> Node | None:
    if len(node.args) != 2:
        return None
    return kernel("days_apart", st.INT, *coerce_arguments(node, "dd"))


@rule("date_add", "date_sub", "dateadd")
def _date_add(node: Node, typist: Typist) -> Node | None:
    if len(node.args) != 2:
        return None
    (b,) = known_types(node.args[1])
    if not (isinstance(b, NARROW) or st.is_string(b) or st.is_void(b)):
        raise refuse(f"{node.name}() of {st.type_text(b)}", "give it a number of days", node)
    day = implicit(node.args[0], st.DATE, node)
    sign = literal(-1 if node.name == "date_sub" else 1)
    number = guard_null(implicit(node.args[1], st.INT, node), day)
    return kernel("date_plus", st.DATE, day, number, sign)


@rule("to_date", "to_timestamp", "to_timestamp_ltz", "try_to_date", "try_to_timestamp")
def _to_moment(node: Node, typist: Typist) -> Node | None:
    tries = node.name.startswith("try")
    target = st.DATE if node.name.endswith("date") else st.TIMESTAMP
    if len(node.args) == 1:
        (a,) = known_types(node.args[0])
        if st.is_string(a) or isinstance(a, MOMENTS) or st.is_void(a):
            if st.same(a, target):
                return cast_same(node.args[0], target)
            return spark_cast(node.args[0], target, tries=tries)
        if st.is_number(a) and st.same(target, st.TIMESTAMP):
            return spark_cast(node.args[0], target, tries=tries)
        if st.is_number(a):
            return spark_cast(spark_cast(node.args[0], st.STRING), target, tries=tries)
        raise refuse(f"{node.name}() of {st.type_text(a)}", "give it a text or a date", node)
    _pattern_text(node, node.args[1], reads=True)
    (a,) = known_types(node.args[0])
    if not st.is_string(a):
        return spark_cast(node.args[0], target)
    return kernel("try_to_moment" if tries else "to_moment", target, *node.args)


_OWN_PATTERN = re.compile(r"(?:yyyy|MM|dd|HH|mm|ss|SSS|[-/:. ,]|'T')*")
"""Patterns that the engine writes as Spark does, and in any time zone."""


def _pattern_text(node: Node, pattern: Node, *, reads: bool) -> str:
    """The constant pattern of a call. Raises DiffersError for one that is not known here."""
    text = constant_of(pattern)
    if not isinstance(text, str):
        raise refuse(
            f"{node.name}() with a pattern that is not a constant",
            "write the pattern as a text",
            node,
        )
    try:
        check_reading(text) if reads else pieces_of(text)
    except DatePatternError as error:
        if not error.spark_too:
            raise refuse(
                f"the pattern {text!r} of {node.name}(): {error}",
                "use the letters y, M, d, D, H, h, a, m, s, S and X",
                node,
            ) from error
    return text


@rule("date_format")
def _date_format(node: Node, typist: Typist) -> Node | None:
    text = _pattern_text(node, node.args[1], reads=False)
    value = implicit(node.args[0], st.TIMESTAMP, node)
    node.type = st.STRING
    if _OWN_PATTERN.fullmatch(text):
        same = value is node.args[0]
        return None if same else call("date_format", value, node.args[1], type=st.STRING)
    return kernel("date_format", st.STRING, value, literal(text))


@rule("from_unixtime")
def _from_unixtime(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    if isinstance(a, MOMENTS):
        raise refuse(f"from_unixtime() of {st.type_text(a)}", "use date_format()", node)
    pattern = node.args[1] if len(node.args) > 1 else literal("yyyy-MM-dd HH:mm:ss")
    text = _pattern_text(node, pattern, reads=False)
    if not typist.world.utc and _OWN_PATTERN.fullmatch(text) and st.is_integer(a):
        node.type = st.STRING
        return None
    seconds = implicit(node.args[0], st.LONG, node)
    moments = kernel("moments_of_seconds", st.TIMESTAMP, seconds)
    return kernel("date_format", st.STRING, moments, literal(text))


@rule("unix_timestamp", "to_unix_timestamp")
def _unix_timestamp(node: Node, typist: Typist) -> Node | None:
    if not node.args:
        return None
    (a,) = known_types(node.args[0])
    if isinstance(a, MOMENTS):
        node.type = st.LONG
        return None
    if not (st.is_string(a) or st.is_void(a)):
        raise refuse(f"{node.name}() of {st.type_text(a)}", "give it a text or a date", node)
    pattern = node.args[1] if len(node.args) > 1 else literal("yyyy-MM-dd HH:mm:ss")
    text = _pattern_text(node, pattern, reads=True)
    value = implicit(node.args[0], st.STRING, node)
    if not typist.world.utc and _OWN_PATTERN.fullmatch(text) and st.is_string(a):
        node.type = st.LONG
        return None
    return kernel("seconds", st.LONG, kernel("to_moment", st.TIMESTAMP, value, literal(text)))


@rule("timestamp_seconds", "timestamp_millis", "timestamp_micros")
def _timestamp_of(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    if not st.is_integer(a):
        raise refuse(f"{node.name}() of {st.type_text(a)}", "cast it to bigint", node)
    return kernel(node.name, st.TIMESTAMP, cast(node.args[0], st.LONG))


_OFFSET = re.compile(r"(?:GMT|UTC|UT)?([+-])(\d{1,2})(?::(\d{2}))?")


@rule("from_utc_timestamp", "to_utc_timestamp")
def _in_zone(node: Node, typist: Typist) -> Node | None:
    zone = constant_of(node.args[1])
    match = _OFFSET.fullmatch(zone) if isinstance(zone, str) else None
    if match is None:
        return None
    minutes = 60 * int(match[2]) + int(match[3] or 0)
    later = minutes if (match[1] == "+") == (node.name == "from_utc_timestamp") else -minutes
    moment = implicit(node.args[0], st.TIMESTAMP, node)
    return kernel("micros_later", st.TIMESTAMP, moment, literal(later, st.INT), literal(60_000_000))


@rule("dayname", "monthname")
def _name_of_day(node: Node, typist: Typist) -> Node | None:
    day = implicit(node.args[0], st.DATE, node)
    return kernel(
        "date_format", st.STRING, day, literal("EEE" if node.name == "dayname" else "MMM")
    )


_TRUNCATED = frozenset(
    {"year", "yyyy", "yy", "quarter", "month", "mon", "mm", "week", "day", "dd", "hour", "minute",
     "second", "millisecond", "microsecond"}
)  # fmt: skip


@rule("date_trunc")
def _date_trunc(node: Node, typist: Typist) -> Node | None:
    unit, value = node.args
    text = constant_of(unit)
    if isinstance(text, str) and text.lower() not in _TRUNCATED:
        return literal(None, st.TIMESTAMP)
    value = implicit(value, st.TIMESTAMP, node)
    node.type = st.TIMESTAMP
    if isinstance(text, str) and typist.world.utc:
        return kernel(
            "moment_trunc",
            st.TIMESTAMP,
            value,
            literal(_SHORT_UNITS.get(text.lower(), text.lower())),
        )
    return None if value is node.args[1] else call("date_trunc", unit, value, type=st.TIMESTAMP)


@rule("months_between")
def _months_between(node: Node, typist: Typist) -> Node | None:
    rounds = [implicit(arg, st.BOOLEAN, node) for arg in node.args[2:]] or [literal(value=True)]
    sides = [implicit(arg, st.TIMESTAMP, node) for arg in node.args[:2]]
    if not typist.world.utc:
        return call_as(call("months_between", *sides, *rounds), st.DOUBLE)
    return kernel("months_between", st.DOUBLE, *sides, *rounds)


_SHORT_UNITS = {"yyyy": "year", "yy": "year", "mon": "month", "mm": "month", "dd": "day"}
_MONTHS = {"year": 12, "quarter": 3, "month": 1}
_MICROS = {"week": 604_800_000_000, "day": 86_400_000_000, "dayofyear": 86_400_000_000,
           "hour": 3_600_000_000, "minute": 60_000_000, "second": 1_000_000, "millisecond": 1_000,
           "microsecond": 1}  # fmt: skip


def _unit_of(node: Node) -> tuple[str, int]:
    """(kernel's kind, how many of it) of a unit of time."""
    unit = str(constant_of(node.args[0]) or node.args[0].name).lower()
    if unit in _MONTHS:
        return "months", _MONTHS[unit]
    if unit in _MICROS:
        return "micros", _MICROS[unit]
    raise refuse(f"{node.name.removesuffix(' unit')}() in {unit}", "use days or months", node)


@rule("timestampdiff unit", "datediff unit", "date_diff unit")
def _diff_in_units(node: Node, typist: Typist) -> Node | None:
    kind, size = _unit_of(node)
    sides = [implicit(arg, st.TIMESTAMP, node) for arg in node.args[1:]]
    return kernel(f"{kind}_apart", st.LONG, *sides, literal(size))


@rule("timestampadd unit", "dateadd unit", "date_add unit")
def _add_units(node: Node, typist: Typist) -> Node | None:
    kind, size = _unit_of(node)
    value = node.args[2]
    (a,) = known_types(value)
    number = implicit(node.args[1], st.INT, node)
    target = a if isinstance(a, t.TimestampNTZType) else st.TIMESTAMP
    return kernel(f"{kind}_later", target, implicit(value, target, node), number, literal(size))


@rule("to_timestamp_ntz")
def _to_ntz(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    if not (st.is_string(a) or isinstance(a, MOMENTS) or st.is_void(a)):
        raise refuse(f"to_timestamp_ntz() of {st.type_text(a)}", "cast it to timestamp", node)
    return None
