"""What is done with a function, operator or cast so that the embedded engine gives Spark's answer.

The rules of one kind stand together in a module of their own; this one has what they share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyspark.sql import types as t

from proa.engine.parity import spark_types as st
from proa.engine.parity.coerce import call_as, known_types, refuse, spark_cast
from proa.engine.parity.sql_nodes import DataType, Node, call
from proa.engine.parity.typist import Typist
from proa.errors import DataError

Rule = Callable[[Node, Typist], Node | None]
RULES: dict[str, Rule] = {}

NARROW = (t.ByteType, t.ShortType, t.IntegerType)
INTERVALS = (t.DayTimeIntervalType, t.YearMonthIntervalType)
MOMENTS = (t.DateType, t.TimestampType, t.TimestampNTZType)
EASY = (*st.INTEGERS, t.StringType, t.BooleanType, *MOMENTS, t.BinaryType, t.DecimalType)


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Make a function the rule of the functions, operators or kinds named."""

    def known_as(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return known_as


def guard_null(right: Node, left: Node) -> Node:
    """`right`, read from text only where `left` is not NULL: Spark does not look at it elsewhere."""
    if right.kind == "kernel" and right.name == "from_text" and left.now.kind != "literal":
        return Node("kernel", "from_text", [*right.args, left], right.type)
    return right


def is_readable(item: Node) -> bool:
    """Whether a cast of text is that of a constant which can be read, so that it raises no error."""
    text = constant_of(item.args[0])
    if not isinstance(text, str):
        return False
    import pyarrow as pa
    from pyspark.sql.pandas.types import to_arrow_type

    from proa.engine.parity.kernels_casts import from_text

    try:
        from_text(to_arrow_type(item.type, timezone="UTC"), pa.array([text]))
    except DataError:
        return False
    return True


def bare(node: Node) -> Node:
    """What is inside of brackets."""
    inner = node.now
    while inner.kind == "call" and inner.name == "()":
        inner = inner.args[0].now
    return inner


def truth(condition: Node, at: Node) -> Node:
    """A condition as a boolean; Spark takes text too."""
    (a,) = known_types(condition)
    if isinstance(a, t.BooleanType):
        return condition
    if st.is_string(a):
        return spark_cast(condition, st.BOOLEAN)
    raise refuse(f"a condition of the type {st.type_text(a)}", "write a comparison", at)


def constant_of(node: Node) -> Any:
    """The constant that a node is, in brackets or not; None for anything else."""
    return bare(node).constant


_TYPES: dict[str, DataType] = {
    "D": st.DOUBLE, "I": st.INT, "L": st.LONG, "S": st.STRING, "B": st.BOOLEAN, "T": st.TIMESTAMP,
    "d": st.DATE, "X": st.BINARY,
}  # fmt: skip

_SIGNATURES = """
    D>D acos acosh asin asinh atan atanh cbrt cos cosh cot csc degrees exp expm1 radians
    L>L bitmap_bit_position bitmap_bucket_number
    D>D sec sin sinh sqrt tan tanh
    S>S upper lower ucase lcase trim ltrim rtrim btrim soundex
    SS>S trim ltrim rtrim btrim
    S>I ascii
    SSS>S translate
    SI>S repeat
    SSI>S substring_index split_part
    SI>S right
    SIS>S lpad rpad
    SI>S lpad rpad
    SS>I instr levenshtein
    SS>I locate position
    SSI>I locate position
    SS>B startswith endswith contains
    S>S url_encode url_decode try_url_decode
    SS>I find_in_set
    S>B luhn_check is_valid_utf8
    S>X unhex unbase64
    S>S validate_utf8 try_validate_utf8 make_valid_utf8 quote
    S>B isnull_text
    SSS>S replace
    SS>S replace
    d>d last_day
    dI>d add_months
    dS>d next_day
    I>d date_from_unix_date
    T>I hour minute second
    d>I year quarter month day dayofmonth dayofyear weekofyear
"""
"""Types of arguments and of the result, and the functions that are the engine's own once its
arguments have these types."""

SIGNATURES: dict[tuple[str, int], tuple[str, str]] = {}
for _line in _SIGNATURES.split("\n"):
    if _line.strip():
        _signature, *_names = _line.split()
        _given, _result = _signature.split(">")
        for _name in _names:
            SIGNATURES[_name, len(_given)] = (_given, _result)


def coerce_arguments(node: Node, code: str) -> list[Node]:
    """The arguments of a call as the types that `code` says, by Spark's implicit casts."""
    return [
        implicit(arg, _TYPES[letter], node) for arg, letter in zip(node.args, code, strict=True)
    ]


def implicit(arg: Node, target: DataType, at: Node) -> Node:
    """`arg` as a function takes it; Spark casts by itself where no meaning is lost."""
    (a,) = known_types(arg)
    if st.same(a, target):
        return arg
    allowed = (
        st.is_void(a)
        or st.is_string(a)
        or (
            isinstance(target, t.StringType)
            and not isinstance(a, (t.ArrayType, t.MapType, t.StructType))
        )
        or (st.is_number(a) and isinstance(target, t.DoubleType))
        or (st.is_integer(a) and st.is_integer(target) and st.same(st.common(a, target), target))
        or (isinstance(a, MOMENTS) and isinstance(target, MOMENTS))
        or (st.is_number(a) and st.is_integer(target))
    )
    if not allowed:
        raise refuse(
            f"{at.name}() over {st.type_text(a)}", f"cast it to {st.type_text(target)}", at
        )
    return spark_cast(arg, target)


def by_signature(node: Node) -> Node | None:
    """The call with its arguments as Spark casts them; None where no signature is known."""
    found = SIGNATURES.get((node.name, len(node.args)))
    if found is None:
        return None
    args = coerce_arguments(node, found[0])
    target = _TYPES[found[1]]
    if all(a is b for a, b in zip(args, node.args, strict=True)):
        node.type = target
        return None
    return call_as(call(node.name, *args), target)


@rule("bigint", "binary", "boolean", "date", "decimal", "double", "float", "int", "smallint", "string",
      "timestamp", "tinyint")  # fmt: skip
def _cast_function(node: Node, typist: Typist) -> Node | None:
    if len(node.args) != 1:
        return None
    target = st.type_of(node.name)
    arg = node.args[0]
    if st.same(known_types(arg)[0], target):
        return cast_same(arg, target)
    return spark_cast(arg, target)


def cast_same(arg: Node, target: DataType) -> Node:
    return Node("cast", "cast", [arg], target, value=target)
