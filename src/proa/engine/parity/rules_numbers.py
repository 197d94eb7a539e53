"""Arithmetic: exact decimals, no silent overflow, Spark's rounding."""

from __future__ import annotations

from decimal import Decimal

from pyspark.sql import types as t

from proa.engine.parity import spark_types as st
from proa.engine.parity.coerce import call_as, known_types, refuse, spark_cast
from proa.engine.parity.rule_base import (
    INTERVALS,
    MOMENTS,
    NARROW,
    bare,
    guard_null,
    implicit,
    rule,
)
from proa.engine.parity.sql_nodes import DataType, Node, call, cast, kernel, literal
from proa.engine.parity.typist import Typist

_CHECKED = {"+": "add", "-": "subtract", "*": "multiply"}


@rule("+", "-", "*", "/", "%", "div", "mod", "pmod")
def _arithmetic(node: Node, typist: Typist) -> Node | None:
    sign = {"mod": "%"}.get(node.name, node.name)
    if len(node.args) != 2:
        return None
    left, right = node.args
    a, b = known_types(left, right)
    if sign in "+-" and (found := _moment(sign, left, right)) is not None:
        return found
    if isinstance(a, INTERVALS) or isinstance(b, INTERVALS):
        return _interval_arithmetic(node, sign, left, right)
    if st.is_void(a) and st.is_void(b):
        left, right = literal(None, st.DOUBLE), literal(None, st.DOUBLE)
    elif st.is_void(a):
        left = literal(None, st.DOUBLE if sign == "/" else b)
    elif st.is_void(b):
        right = literal(None, a)
    a, b = left.now.type, right.now.type
    if st.is_string(a) and st.is_string(b):
        # Spark refuses this under ANSI; Databricks' pipelines rely on it (decision 0088).
        target = st.LONG if sign == "div" else st.DOUBLE
        left = spark_cast(left, target)
        right = guard_null(spark_cast(right, target), left)
        a = b = target
    if st.is_string(a) or st.is_string(b):
        target = st.common(a, b)
        if sign == "div":
            target = st.LONG
        if target is None or not st.is_number(target):
            raise refuse(
                f"{sign} over {st.type_text(a)} and {st.type_text(b)}", "cast them to numbers", node
            )
        left = spark_cast(left, target) if st.is_string(a) else left
        right = guard_null(spark_cast(right, target), left) if st.is_string(b) else right
        a, b = left.now.type, right.now.type
    if not (st.is_number(a) and st.is_number(b)):
        raise refuse(
            f"{sign} over {st.type_text(a)} and {st.type_text(b)}", "cast them to numbers", node
        )
    if st.is_float(a) or st.is_float(b):
        return _floating(sign, left, right)
    if st.is_integer(a) and st.is_integer(b):
        return _whole_numbers(sign, left, right)
    return _decimal(sign, left, right)


def _floating(sign: str, left: Node, right: Node) -> Node:
    both = isinstance(left.now.type, t.FloatType) and isinstance(right.now.type, t.FloatType)
    target = st.FLOAT if both and sign != "/" else st.DOUBLE
    left, right = spark_cast(left, target), spark_cast(right, target)
    if sign in _CHECKED:
        return call(sign, left, right, type=target)
    if sign in "/%" and _not_zero(right):
        return call(sign, left, right, type=target)
    if sign == "div":
        raise refuse("div over floating point", "cast both to bigint", left)
    return kernel({"/": "divided", "%": "remainder", "pmod": "pmod"}[sign], target, left, right)


def _whole_numbers(sign: str, left: Node, right: Node) -> Node:
    target = st.common(left.now.type, right.now.type)
    if sign == "/" and _not_zero(right):
        return call("/", cast(left, st.DOUBLE), cast(right, st.DOUBLE), type=st.DOUBLE)
    if sign == "%" and _not_zero(right):
        return call("%", cast(left, target), cast(right, target), type=target)
    if sign == "/":
        return kernel("divided", st.DOUBLE, cast(left, st.DOUBLE), cast(right, st.DOUBLE))
    if sign == "div":
        return kernel("div", st.LONG, cast(left, st.LONG), cast(right, st.LONG))
    if sign in _CHECKED and isinstance(target, NARROW):
        wide = call(sign, cast(left, st.LONG), cast(right, st.LONG), type=st.LONG)
        return cast(wide, target)
    if sign in "+-":
        wide = t.DecimalType(20, 0)
        return cast(
            call(sign, cast(left, wide), cast(right, wide), type=t.DecimalType(21, 0)), target
        )
    if sign == "*" and (digits := _digits(left, right)) is not None:
        return cast(call("*", *digits, type=t.DecimalType(38, 0)), target)
    if sign in _CHECKED:
        return kernel(_CHECKED[sign], st.LONG, cast(left, st.LONG), cast(right, st.LONG))
    return kernel(
        {"%": "remainder", "pmod": "pmod"}[sign], target, cast(left, target), cast(right, target)
    )


def _not_zero(node: Node) -> bool:
    """Whether a divisor is a number that is known and not zero."""
    inner = bare(node)
    while inner.kind == "cast":
        inner = bare(inner.args[0])
    return (
        isinstance(inner.value, (int, float, Decimal))
        and inner.kind == "literal"
        and inner.value != 0
    )


def _digits(left: Node, right: Node) -> list[Node] | None:
    """The factors as decimals whose product has at most 38 digits; None where it may have more."""
    factors = []
    for node in (left, right):
        value = bare(node).constant
        small = isinstance(value, int) and not isinstance(value, bool)
        factors.append(st.as_decimal(node.now.type, value if small else None))
    if factors[0].precision + factors[1].precision + 1 > 38:
        return None
    return [cast(node, type_) for node, type_ in zip((left, right), factors, strict=True)]


def _decimal(sign: str, left: Node, right: Node) -> Node:
    a = st.as_decimal(left.now.type, bare(left).constant)
    b = st.as_decimal(right.now.type, bare(right).constant)
    left, right = cast(left, a), cast(right, b)
    if sign == "div":
        return kernel("div", st.LONG, left, right)
    target = st.arithmetic(sign if sign != "pmod" else "%", a, b)
    room = max(a.scale, b.scale) + max(a.precision - a.scale, b.precision - b.scale) + 1
    if sign in "+-" and room <= 38:
        return cast(call(sign, left, right), target)
    if sign == "*" and a.precision + b.precision + 1 <= 38:
        return cast(call(sign, left, right), target)
    name = {"+": "decimal_add", "-": "decimal_subtract", "*": "decimal_multiply",
            "/": "decimal_divide", "%": "decimal_remainder", "pmod": "decimal_pmod"}[sign]  # fmt: skip
    return kernel(name, target, left, right)


def _moment(sign: str, left: Node, right: Node) -> Node | None:
    a, b = left.now.type, right.now.type
    if sign == "+" and isinstance(b, MOMENTS) and not isinstance(a, MOMENTS):
        left, right, a, b = right, left, b, a
    if isinstance(a, t.DateType) and isinstance(b, (t.ByteType, t.ShortType, t.IntegerType)):
        return kernel(
            "date_plus", st.DATE, left, cast(right, st.INT), literal(1 if sign == "+" else -1)
        )
    if sign == "-" and isinstance(a, t.DateType) and isinstance(b, t.DateType):
        return kernel("days_between", t.DayTimeIntervalType(0, 0), left, right)
    if sign == "-" and isinstance(a, MOMENTS) and isinstance(b, MOMENTS):
        target = st.common(a, b)
        return kernel("time_between", st.DAY_TIME, cast(left, target), cast(right, target))
    if isinstance(a, MOMENTS) and isinstance(b, INTERVALS):
        moved = _shifted_type(a, b)
        return call_as(
            call(sign, cast(left, moved) if isinstance(moved, t.TimestampType) else left, right),
            moved,
        )
    if isinstance(a, MOMENTS) or isinstance(b, MOMENTS):
        if st.is_void(a) or st.is_void(b):
            raise refuse(f"{sign} over a date and NULL", "cast NULL to a type", left)
        raise refuse(
            f"{sign} over {st.type_text(a)} and {st.type_text(b)}",
            "use date_add, or cast to one type",
            left,
        )
    return None


def _shifted_type(a: DataType, b: DataType) -> DataType:
    if isinstance(a, t.DateType) and isinstance(b, t.DayTimeIntervalType):
        return st.DATE if b.startField == 0 and b.endField == 0 else st.TIMESTAMP
    return a


def _interval_arithmetic(node: Node, sign: str, left: Node, right: Node) -> Node:
    a, b = left.now.type, right.now.type
    if sign in "+-" and type(a) is type(b):
        return call(sign, left, right, type=st.common(a, b))
    if sign == "*" and isinstance(b, t.DayTimeIntervalType):
        left, right, a, b = right, left, b, a
    if sign in "*/" and isinstance(a, t.DayTimeIntervalType) and st.is_number(b):
        name = "interval_times" if sign == "*" else "interval_divided"
        factor = cast(right, st.LONG if st.is_integer(b) else st.DOUBLE if st.is_float(b) else b)
        return kernel(name, st.DAY_TIME, left, factor)
    raise refuse(
        f"{sign} over {st.type_text(a)} and {st.type_text(b)}",
        "compute with numbers of seconds or months",
        node,
    )


@rule("&", "|", "^")
def _bits(node: Node, typist: Typist) -> Node | None:
    for a in known_types(*node.args):
        if not (st.is_integer(a) or st.is_void(a)):
            raise refuse(f"{node.name} over {st.type_text(a)}", "cast it to bigint", node)
    left, right = node.args
    if node.name == "^" and None not in (left.now.type, right.now.type):
        # The engine takes a ^ a for 0, also where a is NULL.
        type_ = st.common(left.now.type, right.now.type)
        if type_ is not None and st.is_integer(type_):
            return kernel("bits_xor", type_, cast(left, type_), cast(right, type_))
    return None


@rule("shiftrightunsigned")
def _unsigned_shift(node: Node, typist: Typist) -> Node | None:
    value, places = node.args
    (a,) = known_types(value)
    type_ = st.LONG if isinstance(a, t.LongType) else st.INT
    shift = implicit(places, st.INT, node)
    return kernel("shifted_unsigned", type_, implicit(value, type_, node), shift)


@rule("negative", "positive", "~", "abs")
def _unary(node: Node, typist: Typist) -> Node | None:
    arg = node.args[0]
    (a,) = known_types(arg)
    if st.is_void(a):
        return literal(None, st.DOUBLE)
    if st.is_string(a):
        arg, a = spark_cast(arg, st.DOUBLE), st.DOUBLE
    if node.name == "~":
        if not st.is_integer(a):
            raise refuse(f"~ over {st.type_text(a)}", "cast it to bigint", node)
        return kernel("bits_not", a, arg)
    if isinstance(a, INTERVALS):
        return call("negative", arg, type=a) if node.name == "negative" else None
    if not st.is_number(a):
        raise refuse(f"{node.name} over {st.type_text(a)}", "cast it to a number", node)
    if node.name == "positive":
        return arg if arg is not node else None
    return kernel({"negative": "negated", "abs": "absolute"}[node.name], a, arg)


@rule("try_add", "try_subtract", "try_multiply", "try_divide", "try_mod")
def _try_rule(node: Node, typist: Typist) -> Node | None:
    left, right = node.args
    a, b = known_types(left, right)
    sign = {
        "try_add": "+",
        "try_subtract": "-",
        "try_multiply": "*",
        "try_divide": "/",
        "try_mod": "%",
    }[node.name]
    if not (st.is_number(a) and st.is_number(b)):
        raise refuse(
            f"{node.name} over {st.type_text(a)} and {st.type_text(b)}",
            "cast them to numbers",
            node,
        )
    if st.is_float(a) or st.is_float(b) or (sign == "/" and st.is_integer(a) and st.is_integer(b)):
        both = isinstance(a, t.FloatType) and isinstance(b, t.FloatType)
        target = st.FLOAT if both and sign != "/" else st.DOUBLE
        left, right = cast(left, target), cast(right, target)
    elif st.is_integer(a) and st.is_integer(b):
        target = st.common(a, b)
        left, right = cast(left, target), cast(right, target)
    else:
        da, db = st.as_decimal(a, bare(left).constant), st.as_decimal(b, bare(right).constant)
        left, right, target = cast(left, da), cast(right, db), st.arithmetic(sign, da, db)
    return kernel(node.name, target, left, right)


@rule("round", "bround", "ceil", "ceiling", "floor")
def _round_rule(node: Node, typist: Typist) -> Node | None:
    arg = node.args[0]
    (a,) = known_types(arg)
    down = node.name in {"ceil", "ceiling", "floor"}
    scale = 0
    if len(node.args) > 1:
        second = node.args[1]
        if second.is_null and down:
            raise refuse(
                f"{node.name}() with NULL for a scale", "write the scale as a number", node
            )
        if second.is_null:
            return literal(None, _round_type(a, 0, down=down, given=True))
        if second.constant is None or not isinstance(second.constant, int):
            raise refuse(
                f"{node.name}() with a scale that is not a constant",
                "write the scale as a number",
                node,
            )
        scale = second.constant
    if st.is_string(a) or st.is_void(a):
        arg, a = spark_cast(arg, st.DOUBLE), st.DOUBLE
    if not st.is_number(a):
        raise refuse(f"{node.name} over {st.type_text(a)}", "cast it to a number", node)
    given = len(node.args) > 1
    if down and len(node.args) > 1 and st.is_string(known_types(node.args[0])[0]):
        raise refuse(f"{node.name}() of text with a scale", "cast it to double", node)
    if down and given and not st.is_decimal(a):
        wide = (
            st.as_decimal(a)
            if st.is_integer(a)
            else t.DecimalType(30, 15)
            if isinstance(a, t.DoubleType)
            else t.DecimalType(14, 7)
        )
        if st.is_float(a):
            arg = kernel("finite", a, arg)
        arg, a = spark_cast(arg, wide), wide
    target = _round_type(a, scale, down=down, given=given)
    if st.is_integer(a) and scale >= 0:
        return cast(arg, target) if not st.same(a, target) else kernel("same", target, arg)
    name = "ceil" if node.name == "ceiling" else node.name
    return kernel(
        {"round": "rounded", "bround": "brounded", "ceil": "ceiled", "floor": "floored"}[name],
        target,
        arg,
        literal(scale),
    )


def _round_type(a: DataType, scale: int, *, down: bool, given: bool) -> DataType:
    if st.is_decimal(a):
        if down and not given:
            return (
                st.bounded_decimal(a.precision - a.scale + 1, 0)
                if a.scale
                else st.bounded_decimal(a.precision, 0)
            )
        whole = a.precision - a.scale + 1
        if scale < 0:
            return st.bounded_decimal(max(whole, -scale + 1), 0)
        kept = min(a.scale, scale)
        return t.DecimalType(min(38, whole + kept), min(kept, 38))
    if down and not given:
        return st.LONG
    return a


@rule("ln", "log10", "log1p", "log2", "rint", "isnan", "factorial", "sign", "signum")
def _math(node: Node, typist: Typist) -> Node | None:
    if node.name == "factorial":
        return kernel("factorial", st.LONG, implicit(node.args[0], st.INT, node))
    if isinstance(node.args[0].now.type, INTERVALS):
        return None
    target = st.BOOLEAN if node.name == "isnan" else st.DOUBLE
    name = "sign" if node.name == "signum" else node.name
    return kernel(name, target, implicit(node.args[0], st.DOUBLE, node))


@rule("log", "power", "pow", "atan2", "hypot")
def _math_of_two(node: Node, typist: Typist) -> Node | None:
    args = [implicit(arg, st.DOUBLE, node) for arg in node.args]
    if node.name == "log" and len(args) == 1:
        return kernel("ln", st.DOUBLE, *args)
    return kernel({"pow": "power", "log": "log_of"}.get(node.name, node.name), st.DOUBLE, *args)
