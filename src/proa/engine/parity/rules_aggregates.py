"""Aggregates: those whose answers differ are computed over the list of their values by a kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

from pyspark.sql import types as t

from proa.engine.parity import spark_types as st
from proa.engine.parity.coerce import call_as, known_types, refuse, spark_cast
from proa.engine.parity.rule_base import (
    by_signature,
    coerce_arguments,
    constant_of,
    implicit,
    rule,
    truth,
)
from proa.engine.parity.rules_choices import comparable_double
from proa.engine.parity.sql_nodes import DataType, Node, call, case, cast, kernel, literal
from proa.engine.parity.typist import Typist

AGGREGATES = frozenset({
    "any", "any_value", "array_agg", "avg", "bit_and", "bit_or", "bit_xor",
    "bool_and", "bool_or", "collect_list", "collect_set", "count", "count_if", "every", "first",
    "first_value", "kurtosis", "last", "last_value", "listagg", "max", "max_by", "mean", "min", "min_by",
    "skewness", "some", "std", "stddev", "stddev_pop", "stddev_samp", "string_agg", "sum", "var_pop",
    "var_samp", "variance",
})  # fmt: skip
"""Aggregates of the engine: those that are left as they were written, and those in rules' answers."""


def push_wrap(node: Node, wrap: Callable[[Node], Node]) -> Node:
    """A rule's answer with each aggregate in it wrapped: in FILTER or in OVER."""
    if node.start >= 0 or node.message is not None:
        return node
    if node.kind == "filter" or (node.kind == "call" and node.name in AGGREGATES):
        return wrap(node)
    if node.by is not None:
        return push_wrap(node.by, wrap)
    args = [push_wrap(arg, wrap) for arg in node.args]
    return Node(node.kind, node.name, args, node.type, value=node.value, distinct=node.distinct)


@rule("filter clause")
def _filter_rule(node: Node, typist: Typist) -> Node | None:
    inner, condition = node.args
    condition = truth(condition, node)
    if not inner.changed:
        return None

    def with_filter(found: Node) -> Node:
        args = [_only_where(condition, arg) for arg in found.args]
        core = Node(found.kind, found.name, args, found.type, value=found.value)
        core.distinct = found.distinct
        return Node("filter", "", [core, condition], found.type)

    return with_filter(inner) if inner.by is None else push_wrap(inner.by, with_filter)


def _only_where(condition: Node, value: Node, *, inside: bool = False) -> Node:
    """A value that rules made, from NULLs where `condition` is not true: there it must not fail."""
    now = value.now
    if now.kind in {"literal", "star", "lambda"} or now.type is None:
        return now
    if now.kind == "call" and now.name in {"struct", "named_struct"}:
        return _struct_where(condition, now)
    if now.start >= 0 or now.message is not None:
        if not (inside or now.changed):
            return now
        return case((condition, now), other=literal(None, now.type), type=now.type)
    args = [_only_where(condition, arg, inside=True) for arg in now.args]
    return Node(now.kind, now.name, args, now.type, value=now.value, distinct=now.distinct)


def _struct_where(condition: Node, value: Node) -> Node:
    """A struct of such values: as a whole the engine would not take it for what it is elsewhere."""
    parts = value.args if value.name == "struct" else value.args[1::2]
    made: list[Node] = []
    for name, part in zip(value.type.names, parts, strict=True):
        inner = part.args[0] if part.kind == "alias" else part
        alone = inner.now.kind == "column"
        made += [literal(name), inner if alone else _only_where(condition, inner, inside=True)]
    return call("named_struct", *made, type=value.type)


_NULLS_COUNT = frozenset({"first", "last", "first_value", "last_value", "any_value", "nth_value"})
"""Aggregates for which a row that FILTER leaves out is not the same as a row with NULL."""


def _mask_rows(node: Node) -> Node:
    """An aggregate with FILTER as one over NULLs in the rows that are left out."""
    inner, condition = node.args
    if inner.name in _NULLS_COUNT or inner.distinct or not inner.args:
        raise refuse(f"{inner.name}() with FILTER over a window", "put CASE into it", node)
    value, *rest = inner.args
    type_ = value.now.type
    if value.kind == "star" or type_ is None:
        value, type_ = literal(1), st.INT
    masked = case((condition, value), other=literal(None, type_), type=type_)
    return Node(inner.kind, inner.name, [masked, *rest], inner.type, value=inner.value)


@rule("over clause")
def _over(node: Node, typist: Typist) -> Node | None:
    inner = node.args[0]
    if inner.distinct or (inner.kind == "filter" and inner.args[0].distinct):
        raise refuse("DISTINCT over a window", "use size(collect_set(x) OVER (...))", node)
    made = inner.by
    if made is None and inner.kind == "filter":
        made = Node("filter", "", [inner.args[0], truth(inner.args[1], node)], inner.now.type)
    if made is None:
        return None

    def over(found: Node) -> Node:
        core = _mask_rows(found) if found.kind == "filter" else found
        return Node("window", "", [core], core.type or found.type, value=node)

    return push_wrap(made, over)


def _members(node: Node, arg: Node, target: DataType) -> Node:
    """The values of a group or a window as a list, without NULL."""
    value = spark_cast(arg, target)
    if value.kind == "cast":  # the engine names lists of x and of a cast of x alike, and fails
        value = kernel("same", target, value)
    found = call("collect_list", value, type=t.ArrayType(target))
    found.distinct = node.distinct
    if node.shown in {"over", "moving"}:  # there the engine keeps NULL
        return kernel("without_nulls", found.type, found)
    return found


@rule("percentile_approx", "approx_percentile")
def _approximate(node: Node, typist: Typist) -> Node | None:
    value, share = node.args[:2]
    (a,) = known_types(value)
    if st.is_string(a):
        a = st.DOUBLE
    if not (st.is_number(a) or isinstance(a, (t.DateType, t.TimestampType, t.TimestampNTZType))):
        raise refuse(f"{node.name}() over {st.type_text(a)}", "give it numbers or dates", node)
    (b,) = known_types(share)
    many = isinstance(b, t.ArrayType)
    shares = spark_cast(share, t.ArrayType(st.DOUBLE) if many else st.DOUBLE)
    return kernel(
        "percentile_approx", t.ArrayType(a) if many else a, _members(node, value, a), shares
    )


@rule("approx_count_distinct")
def _approximate_count(node: Node, typist: Typist) -> Node | None:
    """By HyperLogLog++, as Spark does: the error is part of the answer."""
    value, *more = node.args
    precision = literal(_precision(node, more[0] if more else None), st.INT)
    (a,) = known_types(value)
    if not isinstance(a, _COUNTED) or (st.is_decimal(a) and a.precision > 18):
        raise refuse(f"{node.name}() of {st.type_text(a)}", "count(DISTINCT x) is exact", node)
    hashed = call("xxhash64", comparable_double(value) if st.is_float(a) else value, type=st.LONG)
    there = call("isnotnull", value, type=st.BOOLEAN)
    known = case((there, hashed), other=literal(None, st.LONG), type=st.LONG)
    register = kernel("hyperloglog_register", st.INT, known, precision)
    seen = call("collect_set", register, type=t.ArrayType(st.INT))
    return kernel("hyperloglog_count", st.LONG, seen, precision)


def _precision(node: Node, error: Node | None) -> int:
    """Bits of the hash that name a register, of the largest relative standard deviation allowed."""
    allowed = 0.05 if error is None else constant_of(error)
    if not isinstance(allowed, (float, Decimal)):
        raise refuse(f"{node.name}() with an error that is no constant", "write a number", node)
    bits = math.ceil(2 * math.log2(1.106 / float(allowed))) if allowed > 0 else 0
    if not 4 <= bits <= 25:
        raise refuse(f"{node.name}() with an error of {allowed}", "write 0.001 to 0.39", node)
    return bits


@rule("histogram_numeric", "hll_sketch_agg", "hll_union_agg", "hll_union")
def _sketch(node: Node, typist: Typist) -> Node | None:
    raise refuse(
        f"{node.name}(), whose answer depends on the order of rows",
        "count or collect what is to be summed up",
        node,
    )


@rule("product")
def _product(node: Node, typist: Typist) -> Node | None:
    if node.start >= 0:
        raise refuse("product() in SQL", "use exp(sum(ln(x)))", node)
    return by_signature(node)


@rule("percentile", "median", "percentile_cont", "percentile_disc")
def _exact(node: Node, typist: Typist) -> Node | None:
    if len(node.args) > 2:
        raise refuse(f"{node.name}() with frequencies", "repeat the rows", node)
    down = False
    share = literal("0.5")
    if node.value == "within":
        share, key = node.args
        value, down = key.args[0], key.name.startswith("DESC")
    elif node.name == "median":
        value = node.args[0]
    elif node.name.startswith("percentile_"):
        raise refuse(
            f"{node.name}() without WITHIN GROUP", "write WITHIN GROUP (ORDER BY ...)", node
        )
    else:
        value, share = node.args
    (a,) = known_types(value)
    if not (st.is_number(a) or st.is_string(a) or st.is_void(a)):
        raise refuse(f"{node.name}() over {st.type_text(a)}", "give it numbers", node)
    shares = cast(share, st.DOUBLE) if node.name == "median" else share
    many = node.name != "median" and isinstance(known_types(share)[0], t.ArrayType)
    if node.name != "median":
        shares = spark_cast(share, t.ArrayType(st.DOUBLE) if many else st.DOUBLE)
    name = "percentile_disc" if node.name == "percentile_disc" else "percentile"
    result = t.ArrayType(st.DOUBLE) if many else st.DOUBLE
    return kernel(name, result, _members(node, value, st.DOUBLE), shares, literal(down))


@rule("mode")
def _mode(node: Node, typist: Typist) -> Node | None:
    if len(node.args) == 2 and constant_of(node.args[1]) is True:
        (a,) = known_types(node.args[0])
        return kernel("mode", a, _members(node, node.args[0], a))
    raise refuse(
        "mode(), which takes any of several values that are equally frequent",
        "write mode(x, true)",
        node,
    )


@rule("max_by", "min_by")
def _by(node: Node, typist: Typist) -> Node | None:
    if len(node.args) != 2:
        raise refuse(f"{node.name}() of several values", "sort in a subquery", node)
    a, b = known_types(*node.args)
    if isinstance(b, t.MapType) or st.is_void(a) or st.is_void(b):
        raise refuse(f"{node.name}() by {st.type_text(b)}", "give it a plain value", node)
    pair = t.StructType([t.StructField("v", a), t.StructField("k", b)])
    row = call("named_struct", literal("v"), node.args[0], literal("k"), node.args[1], type=pair)
    return kernel(node.name, a, _members(node, row, pair))


@rule("max", "min")
def _extreme(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    node.type = a
    if isinstance(a, (t.MapType,)):
        raise refuse(f"{node.name}() of maps", "give it a plain value", node)
    if isinstance(a, (t.ArrayType, t.StructType)):
        return kernel(f"{node.name}_nested", a, _members(node, node.args[0], a))
    if not st.is_float(a):
        return None
    value = node.args[0]
    nan = kernel("isnan_null", st.BOOLEAN, value)
    if node.name == "max":
        # not bool_or: the engine cannot take a row out of it again, as a sliding window does
        most = call("max", cast(nan, st.INT), type=st.INT)
        some = call("==", most, literal(1, st.INT), type=st.BOOLEAN)
        return case((some, cast(_not_a_number(), a)), other=call("max", value, type=a), type=a)
    real = case((nan, literal(None, a)), other=value, type=a)
    return call("coalesce", call("min", real, type=a), call("min", value, type=a), type=a)


def _not_a_number() -> Node:
    return Node("literal", "double", [], st.DOUBLE, value=float("nan"))


def _micros_total(node: Node, value: Node) -> Node:
    """The microseconds of all intervals together."""
    micros = cast(kernel("micros_of", st.LONG, value), t.DecimalType(20, 0))
    found = call("sum", micros, type=t.DecimalType(30, 0))
    found.distinct = node.distinct
    return found


_SUMMABLE = 28
"""Digits of a decimal of which the engine's sum has room for any number of rows."""


def _wide_total(node: Node, value: Node, target: DataType, *, tries: bool) -> Node:
    """The sum of large decimals by their halves, which cannot overflow without a word."""
    if node.distinct:
        raise refuse(f"{node.name}(DISTINCT) of {st.type_text(value.now.type)}",
                     "cast it to fewer digits", node)  # fmt: skip
    halves = [
        call("sum", kernel(name, t.DecimalType(20, 0), value), type=t.DecimalType(30, 0))
        for name in ("high_half", "low_half")
    ]
    return kernel("sum_of_halves", target, *halves, literal(tries, st.BOOLEAN))


@rule("sum", "try_sum")
def _sum(node: Node, typist: Typist) -> Node | None:
    value = node.args[0]
    (a,) = known_types(value)
    tries = node.name == "try_sum"
    if isinstance(a, t.DayTimeIntervalType):
        return kernel("interval_total", st.DAY_TIME, _micros_total(node, value))
    if st.is_string(a) or st.is_void(a) or isinstance(a, t.TimestampType):
        value, a = spark_cast(value, st.DOUBLE), st.DOUBLE
    if isinstance(a, t.LongType) or (tries and st.is_integer(a)):
        exact = call("sum", cast(value, t.DecimalType(20, 0)), type=t.DecimalType(30, 0))
        exact.distinct = node.distinct
        return Node("cast", "try_cast" if tries else "cast", [exact], st.LONG, value=st.LONG)
    if st.is_decimal(a):
        target = st.bounded_decimal(a.precision + 10, a.scale)
        if a.precision > _SUMMABLE:
            return _wide_total(node, value, target, tries=tries)
        node.type = target
        return call("sum", value, type=target) if tries and not node.distinct else None
    if not st.is_number(a):
        raise refuse(f"{node.name}() of {st.type_text(a)}", "give it numbers", node)
    if node.shown == "moving" and st.is_float(a):
        return kernel("list_sum", st.DOUBLE, _members(node, value, st.DOUBLE))
    found = call("sum", value)
    found.distinct = node.distinct
    if value is node.args[0] and not tries:
        node.type = st.LONG if st.is_integer(a) else st.DOUBLE
        return None
    return call_as(found, st.LONG if st.is_integer(a) else st.DOUBLE)


@rule("avg", "mean", "try_avg")
def _avg(node: Node, typist: Typist) -> Node | None:
    value = node.args[0]
    (a,) = known_types(value)
    if st.is_decimal(a):
        total = call("sum", value, type=st.bounded_decimal(a.precision + 10, a.scale))
        count = call("count", value, type=st.LONG)
        total.distinct = count.distinct = node.distinct
        if a.precision > _SUMMABLE:
            total = _wide_total(node, value, total.type, tries=node.name == "try_avg")
        return kernel(
            "decimal_average", st.bounded_decimal(a.precision + 4, a.scale + 4), total, count
        )
    if isinstance(a, t.DayTimeIntervalType):
        count = call("count", value, type=st.LONG)
        count.distinct = node.distinct
        return kernel("interval_average", st.DAY_TIME, _micros_total(node, value), count)
    if not (st.is_number(a) or st.is_string(a) or st.is_void(a) or isinstance(a, t.TimestampType)):
        raise refuse(f"{node.name}() of {st.type_text(a)}", "give it numbers", node)
    value = spark_cast(value, st.DOUBLE)
    node.type = st.DOUBLE
    if node.shown == "moving" and not st.is_integer(a):
        return kernel("list_mean", st.DOUBLE, _members(node, node.args[0], st.DOUBLE))
    if value is node.args[0] and node.name != "try_avg":
        return None
    found = call("avg", value, type=st.DOUBLE)
    found.distinct = node.distinct
    return found


_SPREADS = {"stddev": "list_stddev", "std": "list_stddev", "stddev_samp": "list_stddev",
            "variance": "list_variance", "var_samp": "list_variance",
            "stddev_pop": "list_stddev_pop", "var_pop": "list_variance_pop"}  # fmt: skip


@rule(
    "stddev",
    "std",
    "stddev_pop",
    "stddev_samp",
    "variance",
    "var_pop",
    "var_samp",
    "skewness",
    "kurtosis",
)
def _moment(node: Node, typist: Typist) -> Node | None:
    value = implicit(node.args[0], st.DOUBLE, node)
    node.type = st.DOUBLE
    if node.shown == "moving" and node.name in _SPREADS:
        return kernel(_SPREADS[node.name], st.DOUBLE, _members(node, node.args[0], st.DOUBLE))
    if node.shown == "moving":
        raise refuse(
            f"{node.name}() over a window whose first row moves",
            "collect_list() the rows of the window",
            node,
        )
    if value is node.args[0]:
        return None
    found = call(node.name, value)
    found.distinct = node.distinct
    return call_as(found, st.DOUBLE)


@rule("count")
def _count(node: Node, typist: Typist) -> Node | None:
    node.type = st.LONG
    if node.distinct and any(st.is_float(arg.now.type) for arg in node.args):
        found = call("count", type=st.LONG)
        found.args = [comparable_double(a) if st.is_float(a.now.type) else a for a in node.args]
        found.distinct = True
        return found
    return None


@rule("count_if")
def _count_if(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    if not isinstance(a, t.BooleanType) and not st.is_void(a):
        raise refuse(f"count_if() of {st.type_text(a)}", "give it a condition", node)
    node.type = st.LONG
    # The engine's own count_if() takes no notice of FILTER.
    hit = case((node.args[0], literal(1)), other=literal(None, st.INT), type=st.INT)
    found = call("count", hit, type=st.LONG)
    found.distinct = node.distinct
    return found


@rule("bool_and", "bool_or", "every", "some", "any")
def _all(node: Node, typist: Typist) -> Node | None:
    value = node.args[0]
    node.type = st.BOOLEAN
    condition = truth(value, node) if not value.is_null else literal(None, st.BOOLEAN)
    if node.shown == "moving":  # the engine cannot take a row out of it again
        name = "min" if node.name in {"bool_and", "every"} else "max"
        found = call(name, cast(condition, st.INT), type=st.INT)
        return call("==", found, literal(1, st.INT), type=st.BOOLEAN)
    return None if condition is value else call(node.name, condition, type=st.BOOLEAN)


@rule("collect_set")
def _set(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    node.type = t.ArrayType(a)
    value = node.args[0]
    if st.is_float(a):
        zero = cast(Node("literal", "double", [], st.DOUBLE, value=0.0), a)
        value = call("+", value, zero, type=a)
    if isinstance(a, _HASHED):
        members = call("collect_set", value, type=node.type)
        return kernel("in_hash_order", node.type, members)
    return None


_HASHED = (*st.INTEGERS, *st.FLOATS, t.StringType, t.BooleanType, t.DateType, t.TimestampType,
           t.TimestampNTZType, t.DayTimeIntervalType, t.DecimalType)  # fmt: skip
"""Types of which the order in Scala's sets is told by the values alone."""
_COUNTED = (*(a for a in _HASHED if a is not t.DayTimeIntervalType), t.BinaryType)
"""Types of which the engine's xxhash64() is Spark's."""


@rule("collect_list", "array_agg")
def _list(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    node.type = t.ArrayType(a)
    if node.shown in {"over", "moving"}:
        return _members(node, node.args[0], a)
    if node.distinct:
        value = comparable_double(node.args[0]) if st.is_float(a) else node.args[0]
        return kernel("first_ones", node.type, call("collect_list", value, type=node.type))
    return None


_SHOWN = (
    *st.INTEGERS,
    t.StringType,
    t.BooleanType,
    t.DateType,
    t.TimestampType,
    t.TimestampNTZType,
)


@rule("listagg", "string_agg")
def _listagg(node: Node, typist: Typist) -> Node | None:
    value, *rest = node.args
    (a,) = known_types(value)
    node.type = st.STRING
    if node.distinct and node.value != "within" and isinstance(a, _SHOWN):
        members = call("collect_list", spark_cast(value, st.STRING), type=t.ArrayType(st.STRING))
        first = kernel("first_ones", members.type, members)
        return kernel("joined", st.STRING, first, rest[0] if rest else literal("", st.STRING))
    if st.is_string(a) or st.is_void(a):
        return None
    if (
        isinstance(a, (t.BinaryType, t.ArrayType, t.MapType, t.StructType))
        or node.value == "within"
    ):
        raise refuse(f"{node.name}() of {st.type_text(a)}", "cast it to string", node)
    found = call(node.name, spark_cast(value, st.STRING), *rest, type=st.STRING)
    found.distinct = node.distinct
    return found


@rule("regr_avgx", "regr_avgy")
def _regr_avg(node: Node, typist: Typist) -> Node | None:
    """The average of one of two, over the rows in which neither is NULL."""
    wanted, other = node.args[::-1] if node.name == "regr_avgx" else node.args
    (a,) = known_types(wanted)
    known_types(other)
    if not st.is_decimal(a):
        return _pairs(node, typist)
    there = call("isnotnull", other, type=st.BOOLEAN)
    value = case((there, wanted), other=literal(None, a), type=a)
    return _avg(call("avg", value), typist)


@rule("corr", "covar_pop", "covar_samp", "regr_count", "regr_intercept", "regr_r2",
      "regr_slope", "regr_sxx", "regr_sxy", "regr_syy")  # fmt: skip
def _pairs(node: Node, typist: Typist) -> Node | None:
    known_types(*node.args)
    if node.name == "regr_count":
        return None
    left, right = coerce_arguments(node, "DD")
    pair = t.StructType([t.StructField("y", st.DOUBLE), t.StructField("x", st.DOUBLE)])
    row = call("named_struct", literal("y"), left, literal("x"), right, type=pair)
    return kernel(node.name, st.DOUBLE, _members(node, row, pair))
