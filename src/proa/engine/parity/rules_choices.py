"""Comparisons, conditions, casts, and functions that choose between values."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import types as t

from proa.engine.parity import spark_types as st
from proa.engine.parity.coerce import (
    call_as,
    common_type_of,
    known_types,
    plain_cast,
    refuse,
    spark_cast,
)
from proa.engine.parity.rule_base import (
    by_signature,
    guard_null,
    is_readable,
    rule,
    truth,
)
from proa.engine.parity.sql_nodes import DataType, Node, call, case, cast, kernel, literal
from proa.engine.parity.typist import Typist


@rule("==", "<=>", "!=", "<", "<=", ">", ">=", "is distinct from", "equal_null")
def _comparison_rule(node: Node, typist: Typist) -> Node | None:
    left, right = node.args
    a, b = known_types(left, right)
    name = "<=>" if node.name == "equal_null" else node.name
    target = common_type_of([left, right], what=f"{node.name} over values")
    if isinstance(target, t.MapType):
        raise refuse("the comparison of maps", "compare map_entries()", node)
    left, right = spark_cast(left, target), spark_cast(right, target)
    if name not in {"<=>", "is distinct from"}:
        right = guard_null(right, left)
    if _has_float(target):
        return _float_compared(node, name, left, right, target)
    if name == "is distinct from":
        return call("not", call("<=>", left, right, type=st.BOOLEAN), type=st.BOOLEAN)
    if left is node.args[0] and right is node.args[1] and name == node.name and st.same(a, b):
        node.type = st.BOOLEAN
        return None
    return call(name, left, right, type=st.BOOLEAN)


def _has_float(type_: DataType) -> bool:
    if isinstance(type_, t.ArrayType):
        return _has_float(type_.elementType)
    if isinstance(type_, t.StructType):
        return any(_has_float(f.dataType) for f in type_.fields)
    return st.is_float(type_)


def _float_compared(node: Node, name: str, left: Node, right: Node, target: DataType) -> Node:
    if not st.is_float(target):
        raise refuse("the comparison of nested floating point", "compare the parts", node)
    if name == "is distinct from":
        same = call("<=>", comparable_double(left), comparable_double(right), type=st.BOOLEAN)
        return call("not", same, type=st.BOOLEAN)
    return call(name, comparable_double(left), comparable_double(right), type=st.BOOLEAN)


def comparable_double(node: Node) -> Node:
    """A double without -0.0, which the engine takes for less than 0.0, and without a NaN that has a
    sign, as processors make it of -x or of infinity - infinity: the engine takes it for the least.
    """
    type_ = node.now.type
    zero, nan = (Node("literal", "double", [], st.DOUBLE, value=v) for v in (0.0, float("nan")))
    sum_ = call("+", node, cast(zero, type_), type=type_)
    return call("nanvl", sum_, cast(nan, type_), type=type_)


@rule("between")
def _between(node: Node, typist: Typist) -> Node | None:
    value, low, high = node.args
    above = call(">=", value, low)
    below = call("<=", value, high)
    above.by, below.by = _comparison_rule(above, typist), _comparison_rule(below, typist)
    if above.by is None:
        above.type = st.BOOLEAN
    for part in below.now.walk():
        if part.kind == "kernel" and part.name == "from_text" and len(part.args) > 1:
            part.args[1] = _unless(above, part.args[1], is_true=False)
    return call("and", above, below, type=st.BOOLEAN)


def _reads_rows(node: Node) -> bool:
    return any(part.kind not in {"literal", "call", "cast", "case"} for part in node.walk())


def _unless(condition: Node, value: Node, *, is_true: bool) -> Node:
    """`value`, or NULL where the condition is known to be true (or false)."""
    test = condition if is_true else call("not", condition, type=st.BOOLEAN)
    gone = literal(None, value.now.type)
    return case((test, gone), other=value, type=value.now.type)


@rule("in")
def _in(node: Node, typist: Typist) -> Node | None:
    items = node.args
    known_types(*items)
    target = common_type_of(items, what="IN over values")
    casted = [spark_cast(item, target) for item in items]
    for place, item in enumerate(casted[1:], 1):
        if item.kind == "kernel" and item.name == "from_text" and not is_readable(item):
            before = call("in", *casted[:place], type=st.BOOLEAN)
            guard = casted[0] if place == 1 else _unless(before, casted[0], is_true=True)
            casted[place] = Node("kernel", "from_text", [item.args[0], guard], item.type)
    if st.is_float(target):
        casted = [comparable_double(item) for item in casted]
    if _has_float(target):
        raise refuse("IN over nested floating point", "compare the parts", node)
    if not _reads_rows(items[0]) and any(map(_reads_rows, items[1:])):
        # The engine answers NULL for a constant among conditional values.
        equal = [call("==", casted[0], item, type=st.BOOLEAN) for item in casted[1:]]
        return reduce(lambda one, other: call("or", one, other, type=st.BOOLEAN), equal)
    if all(a is b for a, b in zip(items, casted, strict=True)):
        node.type = st.BOOLEAN
        return None
    return call("in", *casted, type=st.BOOLEAN)


@rule("coalesce", "nvl", "ifnull", "greatest", "least")
def _choice_rule(node: Node, typist: Typist) -> Node | None:
    target = common_type_of(node.args, what=f"{node.name}() of values")
    kinds = {type(a) for a in known_types(*node.args)}
    if t.BinaryType in kinds and t.StringType in kinds:
        raise refuse(f"{node.name}() of binary and text", "cast one of them", node)
    if node.name in {"greatest", "least"}:
        if t.StringType in kinds and not kinds <= {t.StringType, t.NullType}:
            raise refuse(f"{node.name}() of text and other values", "cast them to one type", node)
        if isinstance(target, (t.MapType,)):
            raise refuse(f"{node.name}() of maps", "compare their entries", node)
        if isinstance(target, (t.ArrayType, t.StructType)):
            raise refuse(f"{node.name}() of arrays or structs", "compare the parts", node)
        if st.is_float(target):
            return kernel(node.name, target, *(spark_cast(a, target) for a in node.args))
    casted = [spark_cast(arg, target) for arg in node.args]
    name = "coalesce" if node.name in {"nvl", "ifnull"} else node.name
    if st.is_void(target):
        return literal(None, st.VOID)
    return call_as(call(name, *casted), target)


@rule("nullif")
def _nullif(node: Node, typist: Typist) -> Node | None:
    same = call("==", *node.args)
    same.by = _comparison_rule(same, typist)
    (target,) = known_types(node.args[0])
    return case((same, literal(None, target)), other=node.args[0], type=target)


@rule("nvl2")
def _nvl2(node: Node, typist: Typist) -> Node | None:
    target = common_type_of(node.args[1:], what="nvl2() of values")
    there = call("isnotnull", node.args[0], type=st.BOOLEAN)
    return case(
        (there, spark_cast(node.args[1], target)),
        other=spark_cast(node.args[2], target),
        type=target,
    )


@rule("zeroifnull", "nullifzero")
def _zero(node: Node, typist: Typist) -> Node | None:
    other = literal(0, st.INT)
    other.name = "int"
    if node.name == "zeroifnull":
        return _choice_rule(call("coalesce", node.args[0], other), typist)
    return _nullif(call("nullif", node.args[0], other), typist)


@rule("nanvl")
def _nanvl(node: Node, typist: Typist) -> Node | None:
    a, b = known_types(*node.args)
    target = st.FLOAT if isinstance(a, t.FloatType) and isinstance(b, t.FloatType) else st.DOUBLE
    return kernel("nanvl", target, *(spark_cast(arg, target) for arg in node.args))


@rule("if")
def _if(node: Node, typist: Typist) -> Node | None:
    condition = truth(node.args[0], node)
    target = common_type_of(node.args[1:], what="if() of values")
    return case(
        (condition, spark_cast(node.args[1], target)),
        other=spark_cast(node.args[2], target),
        type=target,
    )


@rule("case")
def _case(node: Node, typist: Typist) -> Node | None:
    subject, otherwise = node.value
    args = list(node.args)
    head = args.pop(0) if subject else None
    last = args.pop() if otherwise else literal(None, st.VOID)
    conditions, results = args[::2], args[1::2]
    if head is not None:
        compared = []
        for value in conditions:
            same = call("==", head, value)
            same.by = _comparison_rule(same, typist)
            if same.by is None:
                same.type = st.BOOLEAN
            compared.append(same)
        conditions = compared
    else:
        conditions = [truth(c, node) for c in conditions]
    target = common_type_of([*results, last], what="CASE of values")
    pairs = [(c, spark_cast(r, target)) for c, r in zip(conditions, results, strict=True)]
    unchanged = head is None and all(
        r is p[1] and c is p[0] for r, c, p in zip(results, node.args[::2], pairs, strict=False)
    )
    if unchanged and (not otherwise or st.same(last.now.type, target)):
        node.type = target
        return None
    return case(*pairs, other=spark_cast(last, target), type=target)


@rule("decode")
def _decode(node: Node, typist: Typist) -> Node | None:
    if len(node.args) == 2:
        return None
    head, *rest = node.args
    last = rest.pop() if len(rest) % 2 else literal(None, st.VOID)
    results = [*rest[1::2], last]
    target = common_type_of(results, what="decode() of values")
    pairs = []
    for value, result in zip(rest[::2], rest[1::2], strict=True):
        same = call("<=>", head, value, type=st.BOOLEAN)
        same.by = _comparison_rule(same, typist)
        pairs.append((same, spark_cast(result, target)))
    return case(*pairs, other=spark_cast(last, target), type=target)


@rule("and", "or", "not")
def _logic(node: Node, typist: Typist) -> Node | None:
    args = [truth(arg, node) if not arg.is_null else literal(None, st.BOOLEAN) for arg in node.args]
    if len(args) == 2 and args[1].kind == "kernel" and args[1].name == "from_text":
        read = _unless(args[0], literal(True, st.BOOLEAN), is_true=node.name == "or")
        args[1] = Node("kernel", "from_text", [args[1].args[0], read], st.BOOLEAN)
    node.type = st.BOOLEAN
    infix = node.value == "infix" and args[0].by is not None
    if all(a is b for a, b in zip(args, node.args, strict=True)) and not infix:
        return None
    return call(node.name, *args, type=st.BOOLEAN)


@rule("is true", "is not true", "is false", "is not false", "is unknown", "is not unknown")
def _is(node: Node, typist: Typist) -> Node | None:
    arg = truth(node.args[0], node) if not node.args[0].is_null else literal(None, st.BOOLEAN)
    negated, what = "not" in node.name, node.name.split()[-1]
    if what == "unknown":
        return call("isnotnull" if negated else "isnull", arg, type=st.BOOLEAN)
    same = call("<=>", arg, literal(what == "true", st.BOOLEAN), type=st.BOOLEAN)
    return call("not", same, type=st.BOOLEAN) if negated else same


_SPECIAL_TIMES = frozenset({"epoch", "now", "today", "tomorrow", "yesterday"})


@rule("cast")
def _cast(node: Node, typist: Typist) -> Node | None:
    arg = node.args[0]
    (a,) = known_types(arg)
    tries = node.name == "try_cast"
    if st.same(a, node.value):
        return None
    text = arg.constant
    moment = isinstance(node.value, (t.DateType, t.TimestampType, t.TimestampNTZType))
    if moment and isinstance(text, str) and text.strip().lower() in _SPECIAL_TIMES:
        raise refuse(
            f"the cast of {text!r} to a time", "write the date, or use current_date()", node
        )
    if isinstance(a, (t.DayTimeIntervalType, t.YearMonthIntervalType)) and type(a) is type(
        node.value
    ):
        raise refuse(
            f"the cast of {st.type_text(a)} to {st.type_text(node.value)}", "keep its type", node
        )
    found = spark_cast(arg, node.value, tries=tries)
    return None if found.kind == "cast" and found.args[0] is arg else found


@rule("()")
def _brackets(node: Node, typist: Typist) -> Node | None:
    node.type = node.args[0].now.type
    return None


@rule("scalar_query", "in_query", "exists_query")
def _subquery(node: Node, typist: Typist) -> Node | None:
    if node.name == "scalar_query":
        node.type = node.args[0].type
        return None
    node.type = st.BOOLEAN
    if node.name == "in_query":
        a, b = known_types(*node.args)
        if not st.same(a, b) and node.args[0].kind != "call":
            if st.common(a, b) is None or not plain_cast(a, st.common(a, b)):
                raise refuse("IN (query) over another type", "cast to one type", node)
    return None


_TAKES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("soundex", "str_to_map"), (t.StringType,)),
    "unix_date": (t.DateType,),
    "unix_micros": (t.TimestampType,),
    **dict.fromkeys(("validate_utf8", "try_validate_utf8", "make_valid_utf8"), (t.StringType,)),
}


@rule(*_TAKES)
def _only_of_type(node: Node, typist: Typist) -> Node | None:
    """The engine takes anything; Spark refuses, or reads it in another way."""
    (a,) = known_types(node.args[0])
    if not isinstance(a, (*_TAKES[node.name], t.NullType)):
        raise refuse(f"{node.name}() of {st.type_text(a)}", "cast it to the type it takes", node)
    return None


@rule("flatten")
def _flatten(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    if not (isinstance(a, t.ArrayType) and isinstance(a.elementType, t.ArrayType)):
        raise refuse(f"flatten() of {st.type_text(a)}", "give it an array of arrays", node)
    node.type = a.elementType
    return None


@rule("hash", "xxhash64")
def _hash(node: Node, typist: Typist) -> Node | None:
    nested = (*_NESTED, t.DayTimeIntervalType, t.YearMonthIntervalType)
    for a in known_types(*node.args):
        differs = isinstance(a, t.MapType)
        if node.name == "hash":
            differs = differs or st.is_decimal(a) or isinstance(a, nested)
        else:
            differs = differs or (st.is_decimal(a) and a.precision > 18)
        if differs:
            raise refuse(f"{node.name}() of {st.type_text(a)}", "use md5() of text", node)
    told = [arg for arg in node.args if not st.is_void(arg.now.type)]  # NULL changes no hash
    target = st.INT if node.name == "hash" else st.LONG
    if len(told) == len(node.args):
        return None
    return call(node.name, *told, type=target) if told else cast(literal(42, st.INT), target)


_NESTED = (t.ArrayType, t.MapType, t.StructType)


_NEVER = {
    "iff": "use if()",
    "nth_value": "number the rows with row_number() and join",
    "is_valid_utf8": "text is valid UTF-8 where files are read",
    "quote": "use concat() and replace()",
    "sentences": "use split()",
    "version": "it is the version of another engine",
    **dict.fromkeys(
        ("make_time", "time_diff", "time_trunc", "to_time", "try_to_time"), "use timestamps"
    ),
}
"""What differs over any argument, and what to write instead."""


@rule(*_NEVER)
def _refused_always(node: Node, typist: Typist) -> Node | None:
    raise refuse(f"{node.name}()", _NEVER[node.name], node)


@rule("lpad", "rpad", "width_bucket")
def _not_over(node: Node, typist: Typist) -> Node | None:
    """Functions that differ over some types."""
    types = known_types(*node.args)
    padded = node.name != "width_bucket"
    if isinstance(types[0], t.BinaryType) if padded else any(map(st.is_float, types)):
        raise refuse(f"{node.name}() of {st.type_text(types[0])}", "cast it to another type", node)
    return by_signature(node)
