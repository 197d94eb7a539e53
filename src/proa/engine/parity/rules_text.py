"""Functions over text."""

from __future__ import annotations

import re

from pyspark.sql import types as t

from proa.engine.parity import spark_types as st
from proa.engine.parity.coerce import call_as, common_type_of, known_types, refuse, spark_cast
from proa.engine.parity.rule_base import (
    INTERVALS,
    MOMENTS,
    coerce_arguments,
    constant_of,
    implicit,
    rule,
)
from proa.engine.parity.sql_nodes import Node, call, cast, kernel, literal
from proa.engine.parity.typist import Typist


@rule("like", "ilike", "like any", "like all", "not like any", "not like all", "ilike any", "ilike all",
      "not ilike any", "not ilike all")  # fmt: skip
def _like(node: Node, typist: Typist) -> Node | None:
    words = node.name.split()
    for pattern in node.args[1:]:
        text = constant_of(pattern)
        if (
            isinstance(text, str)
            and re.search(r"(?<!\\)(?:\\\\)*\\$", text)
            and len(node.args) == 2
        ):
            raise refuse("LIKE with a pattern that ends in its escape", "write it twice", node)
    args = [implicit(arg, st.STRING, node) for arg in node.args]
    if "ilike" in words and any("\u0130" in str(constant_of(arg)) for arg in node.args):
        raise refuse("ILIKE with a dotted capital I", "compare lower() of both", node)
    if len(words) == 1:
        node.type = st.BOOLEAN
        if all(a is b for a, b in zip(args, node.args, strict=True)):
            return None
        if len(args) == 3:
            raise refuse("LIKE with ESCAPE over other types than text", "cast it to string", node)
        return call(node.name, *args, type=st.BOOLEAN)
    name = "ilike" if "ilike" in words else "like"
    tests = [call(name, args[0], pattern, type=st.BOOLEAN) for pattern in args[1:]]
    if words[0] == "not":
        tests = [call("not", test, type=st.BOOLEAN) for test in tests]
    found = tests[0]
    for test in tests[1:]:
        found = call("and" if words[-1] == "all" else "or", found, test, type=st.BOOLEAN)
    return found


@rule("concat", "concat_ws", "||")
def _concat(node: Node, typist: Typist) -> Node | None:
    types = known_types(*node.args) if node.args else []
    if node.name == "concat":
        if any(isinstance(a, t.ArrayType) for a in types):
            target = common_type_of(node.args, what="concat() of values")
            args = [spark_cast(arg, target) for arg in node.args]
            return None if args == node.args and args else call_as(call("concat", *args), target)
        if types and all(isinstance(a, t.BinaryType) for a in types):
            node.type = st.BINARY
            return None
        args = [implicit(arg, st.STRING, node) for arg in node.args]
    else:
        args = [
            arg if isinstance(a, t.ArrayType) else implicit(arg, st.STRING, node)
            for arg, a in zip(node.args, types, strict=True)
        ]
    node.type = st.STRING
    if all(a is b for a, b in zip(args, node.args, strict=True)):
        return None
    return call(node.name, *args, type=st.STRING)


def _pattern_of(node: Node, arg: Node) -> None:
    """Refuse a constant pattern that cannot be matched as Java does."""
    from proa.engine.parity.java_regex import PatternError, compile_pattern

    pattern = constant_of(arg)
    if isinstance(pattern, str):
        try:
            compile_pattern(pattern)
        except PatternError as error:
            if not error.spark_too:
                raise refuse(str(error), "write the pattern in another way", node) from error


@rule("rlike", "regexp", "regexp_like")
def _rlike(node: Node, typist: Typist) -> Node | None:
    _pattern_of(node, node.args[1])
    return kernel("rlike", st.BOOLEAN, *coerce_arguments(node, "SS"))


@rule("regexp_replace", "regexp_extract", "regexp_extract_all", "regexp_count", "regexp_instr",
      "regexp_substr", "split")  # fmt: skip
def _regular(node: Node, typist: Typist) -> Node | None:
    codes = {"regexp_replace": "SSSI", "regexp_extract": "SSI", "regexp_extract_all": "SSI",
             "split": "SSI", "regexp_count": "SS", "regexp_instr": "SS", "regexp_substr": "SS"}  # fmt: skip
    results = {"regexp_extract_all": t.ArrayType(st.STRING), "split": t.ArrayType(st.STRING),
               "regexp_count": st.INT, "regexp_instr": st.INT}  # fmt: skip
    code = codes[node.name]
    if not 2 <= len(node.args) <= len(code) or (
        node.name == "regexp_replace" and len(node.args) == 2
    ):
        raise refuse(
            f"{node.name}() with {len(node.args)} arguments", "look at its arguments", node
        )
    _pattern_of(node, node.args[1])
    args = coerce_arguments(node, code[: len(node.args)])
    defaults = {"regexp_extract": 1, "regexp_extract_all": 1, "split": -1, "regexp_replace": 1}
    if len(args) < len(code):
        args.append(literal(defaults[node.name]))
    return kernel(node.name, results.get(node.name, st.STRING), *args)


@rule("initcap")
def _initcap(node: Node, typist: Typist) -> Node | None:
    return kernel("initcap", st.STRING, *coerce_arguments(node, "S"))


@rule("format_string", "printf")
def _format(node: Node, typist: Typist) -> Node | None:

    types = known_types(*node.args)
    pattern = constant_of(node.args[0])
    if not isinstance(pattern, str):
        raise refuse(
            f"{node.name}() with a format that is not a constant",
            "write the format as a text",
            node,
        )
    for code in re.findall(r"%(?:\d+\$)?[-#+ 0,(]*\d*(?:\.\d+)?([a-zA-Z%])", pattern):
        if code not in "sSdxXofebcn%":
            raise refuse(f"%{code} in {node.name}()", "use %s, %d, %f or %e", node)
    odd = (*INTERVALS, *MOMENTS, t.BinaryType, t.ArrayType, t.MapType, t.StructType)
    if any(isinstance(a, odd) for a in types):
        raise refuse(f"{node.name}() of times, binary or nested values", "cast them to text", node)
    if re.search(r"%[-#+ 0,(]*[0-9.]*[fe]", pattern) and any(map(st.is_decimal, types)):
        raise refuse(f"%f of a decimal in {node.name}()", "cast it to double, or use %s", node)
    return kernel("format_string", st.STRING, *node.args)


@rule("typeof")
def _typeof(node: Node, typist: Typist) -> Node | None:
    return literal(known_types(node.args[0])[0].simpleString(), st.STRING)


@rule("char", "chr")
def _char(node: Node, typist: Typist) -> Node | None:
    return kernel("char", st.STRING, implicit(node.args[0], st.LONG, node))


@rule("substring", "substr", "left", "right")
def _substring(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    if isinstance(a, t.BinaryType) and node.name != "right":
        places = [implicit(arg, st.INT, node) for arg in node.args[1:]]
        name = "substring" if node.name == "substr" else node.name
        if name == "substring" and len(places) == 1:
            places.append(literal(2**31 - 1))
        return kernel(f"binary_{name}", st.BINARY, node.args[0], *places)
    args = coerce_arguments(node, "SII"[: len(node.args)])
    first = constant_of(args[1])
    last = constant_of(args[2]) if len(args) > 2 else 1
    usual = isinstance(first, int) and first >= 1 and isinstance(last, int) and last >= 0
    node.type = st.STRING
    if usual:
        return (
            None
            if all(x is y for x, y in zip(args, node.args, strict=True))
            else call(node.name, *args, type=st.STRING)
        )
    if node.name in {"left", "right"}:
        return kernel(node.name, st.STRING, *args)
    if len(args) < 3:
        args.append(literal(2**31 - 1))
    return kernel("substring", st.STRING, *args)


@rule("format_number")
def _format_number(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    if not st.is_number(a) or not isinstance(constant_of(node.args[1]), int):
        raise refuse(
            "format_number() with this pattern", "give it a number and a number of places", node
        )
    return kernel("format_number", st.STRING, node.args[0], node.args[1])


@rule("aes_encrypt", "aes_decrypt", "try_aes_decrypt")
def _aes(node: Node, typist: Typist) -> Node | None:
    raise refuse(f"{node.name}()", "encrypt in a Python function", node)


@rule("literal")
def _literal(node: Node, typist: Typist) -> Node | None:
    """Texts whose escapes the engine reads in another way are written plainly."""
    if (
        isinstance(node.value, str)
        and node.name == "string"
        and node.start >= 0
        and node.shown == "escaped"
    ):
        return literal(node.value, st.STRING)
    if node.name == "int" and node.value == -(1 << 31) and node.start >= 0:
        return cast(literal(node.value, st.LONG), st.INT)  # the engine takes it for a bigint
    return None


@rule("raise_error")
def _raise_error(node: Node, typist: Typist) -> Node | None:
    node.type = st.VOID
    return None


@rule("btrim from", "ltrim from", "rtrim from")
def _trim(node: Node, typist: Typist) -> Node | None:
    *what, arg = coerce_arguments(node, "S" * len(node.args))
    name = node.name.removesuffix(" from")
    args = [arg, *what] if name == "btrim" else [*what, arg]
    return call(name, *args, type=st.STRING)


@rule("reverse")
def _reverse(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    if isinstance(a, t.ArrayType):
        return None
    if isinstance(a, t.BinaryType):
        return kernel("binary_reversed", st.BINARY, node.args[0])
    value = implicit(node.args[0], st.STRING, node)
    node.type = st.STRING
    return None if value is node.args[0] else call("reverse", value, type=st.STRING)


_CHARSETS = {"utf-8": "utf-8", "us-ascii": "ascii", "iso-8859-1": "latin-1", "utf-16": "utf-16",
             "utf-16be": "utf-16-be", "utf-16le": "utf-16-le"}  # fmt: skip


@rule("encode")
def _encode(node: Node, typist: Typist) -> Node | None:
    charset = constant_of(node.args[1])
    codec = _CHARSETS.get(charset.lower()) if isinstance(charset, str) else None
    if codec is None:
        raise refuse("encode() in this character set", f"use one of {', '.join(_CHARSETS)}", node)
    return kernel("encode", st.BINARY, implicit(node.args[0], st.STRING, node), literal(codec))


@rule("conv")
def _conv(node: Node, typist: Typist) -> Node | None:
    return kernel("conv", st.STRING, *coerce_arguments(node, "SII"))


@rule("size", "cardinality")
def _size(node: Node, typist: Typist) -> Node | None:
    return literal(None, st.INT) if node.args and node.args[0].is_null else None


@rule("elt")
def _elt(node: Node, typist: Typist) -> Node | None:
    texts = [implicit(arg, st.STRING, node) for arg in node.args[1:]]
    return kernel("elt", st.STRING, implicit(node.args[0], st.INT, node), *texts)


_MASKED = ("str", "upperchar", "lowerchar", "digitchar", "otherchar")


@rule("mask")
def _mask(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    if not (st.is_string(a) or st.is_void(a)):
        raise refuse(f"mask() of {st.type_text(a)}", "cast it to string", node)
    signs: dict[str, str | None] = dict(zip(_MASKED[1:], ["X", "x", "n", None], strict=True))
    for place, arg in enumerate(node.args[1:], 1):
        name, value = (arg.name, arg.args[0]) if arg.kind == "named" else (_MASKED[place], arg)
        constant = constant_of(value)
        if name not in signs or not (isinstance(constant, str) or value.is_null):
            raise refuse(
                "mask() with characters that are not constants",
                "write the characters as texts",
                node,
            )
        signs[name] = constant
    if any(sign is not None and len(sign) != 1 for sign in signs.values()):
        raise refuse("mask() by other than single characters", "write one character each", node)
    given = [literal(sign or "", st.STRING) for sign in signs.values()]
    return kernel("mask", st.STRING, implicit(node.args[0], st.STRING, node), *given)


_URL_PARTS = frozenset({"HOST", "PATH", "QUERY", "REF", "PROTOCOL", "FILE", "USERINFO"})


@rule("parse_url", "try_parse_url")
def _parse_url(node: Node, typist: Typist) -> Node | None:
    if constant_of(node.args[1]) not in _URL_PARTS:
        raise refuse(
            f"{node.name}() of this part", f"use one of {', '.join(sorted(_URL_PARTS))}", node
        )
    args = coerce_arguments(node, "S" * len(node.args))
    name = "url" if node.name == "parse_url" else "try_url"
    part = call("parse_url", kernel(name, st.STRING, args[0]), args[1], type=st.STRING)
    if len(args) < 3:
        return part
    if constant_of(node.args[1]) != "QUERY":
        return literal(None, st.STRING)
    return kernel("query_value", st.STRING, part, args[2])


@rule("to_binary", "try_to_binary")
def _to_binary(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    shape = constant_of(node.args[1]) if len(node.args) > 1 else "hex"
    if isinstance(a, (t.ArrayType, t.MapType, t.StructType)) or not isinstance(shape, str):
        raise refuse(f"{node.name}() of {st.type_text(a)}", "cast it to string", node)
    text = implicit(node.args[0], st.STRING, node)
    if shape.lower() in {"utf-8", "utf8"}:
        return kernel("encode", st.BINARY, text, literal("utf-8"))
    if shape.lower() == "hex":
        name = "bytes_of_hex" if node.name == "to_binary" else "try_bytes_of_hex"
        return kernel(name, st.BINARY, text)
    if node.name == "try_to_binary":
        raise refuse("try_to_binary() of base64", "use unbase64()", node)
    return None


@rule("to_number", "try_to_number")
def _to_number(node: Node, typist: Typist) -> Node | None:
    shape = constant_of(node.args[1])
    if not isinstance(shape, str) or "0" in shape:
        raise refuse(f"{node.name}() with this format", "use 9 for digits, or a cast", node)
    match = _PLAIN_NUMBER.fullmatch(shape)
    (a,) = known_types(node.args[0])
    if match is None or not st.is_string(a):
        return None
    before, after = len(match[1]), len(match[2] or "")
    name = "digits_to_number" if node.name == "to_number" else "try_digits_to_number"
    sizes = [literal(size, st.INT) for size in (before, after)]
    return kernel(name, t.DecimalType(before + after, after), node.args[0], *sizes)


_PLAIN_NUMBER = re.compile(r"(9+)(?:[.Dd](9*))?")
"""A format of digits alone."""
