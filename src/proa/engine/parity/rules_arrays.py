"""Functions over arrays, maps and their members."""

from __future__ import annotations

from pyspark.sql import types as t

from proa.engine.parity import spark_types as st
from proa.engine.parity.coerce import common_type_of, known_types, refuse, spark_cast
from proa.engine.parity.rule_base import (
    EASY,
    constant_of,
    implicit,
    rule,
)
from proa.engine.parity.sql_nodes import DataType, Node, call, kernel, literal
from proa.engine.parity.typist import Typist


@rule("array_contains", "array_position", "array_remove")
def _array_item(node: Node, typist: Typist) -> Node | None:
    array, item = node.args
    a, b = known_types(array, item)
    if not isinstance(a, t.ArrayType):
        raise refuse(f"{node.name}() over {st.type_text(a)}", "give it an array", node)
    target = None if st.is_void(b) else st.common(a.elementType, b)
    if (
        target is None
        or st.is_string(a.elementType) != st.is_string(target)
        or isinstance(target, (t.StructType, t.MapType))
    ):
        raise refuse(
            f"{node.name}() of {st.type_text(b)} in {st.type_text(a)}", "cast one of them", node
        )
    array, item = spark_cast(array, t.ArrayType(target)), spark_cast(item, target)
    results = {
        "array_contains": st.BOOLEAN,
        "array_position": st.LONG,
        "array_remove": t.ArrayType(target),
    }
    return kernel(node.name, results[node.name], array, item)


@rule("array_compact")
def _compact(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    if not isinstance(a, t.ArrayType):
        raise refuse(f"array_compact() of {st.type_text(a)}", "give it an array", node)
    return kernel("array_compact", a, node.args[0])


@rule("array_repeat")
def _repeat(node: Node, typist: Typist) -> Node | None:
    item, times = node.args
    (a,) = known_types(item)
    if st.is_void(a):
        raise refuse("array_repeat() of NULL", "cast it to a type", node)
    return kernel("array_repeat", t.ArrayType(a), item, implicit(times, st.INT, node))


@rule("zip_with")
def _zip_with(node: Node, typist: Typist) -> Node | None:
    left, right, body = node.args
    a, b = known_types(left, right)
    if not (isinstance(a, t.ArrayType) and isinstance(b, t.ArrayType)):
        raise refuse("zip_with() over other things than arrays", "give it arrays", node)
    names = {name.casefold() for name in body.value}
    for part in body.args[0].walk():
        if part.kind == "call" and part.name == "struct":
            for arg in part.args:
                if (
                    arg.kind == "column"
                    and len(arg.parts) == 1
                    and arg.parts[0].casefold() in names
                ):
                    raise refuse("struct() of what zip_with() pairs", "use named_struct()", node)
    pair = t.StructType([t.StructField("l", a.elementType), t.StructField("r", b.elementType)])
    return _over_struct(node, kernel("pairs", t.ArrayType(pair), left, right), body, pair)


@rule("map_zip_with")
def _map_zip_with(node: Node, typist: Typist) -> Node | None:
    left, right, body = node.args
    a, b = known_types(left, right)
    if not (
        isinstance(a, t.MapType) and isinstance(b, t.MapType) and st.same(a.keyType, b.keyType)
    ):
        raise refuse("map_zip_with() of maps with different keys", "cast one of them", node)
    row = t.StructType([t.StructField("key", a.keyType), t.StructField("l", a.valueType),
                        t.StructField("r", b.valueType)])  # fmt: skip
    made = _over_struct(node, kernel("map_pairs", t.ArrayType(row), left, right), body, row)
    return _map_of(made, Node("access", ".", [_pair(row)], a.keyType, value="key"))


def _map_of(rows: Node, key: Node) -> Node:
    """The map of a key, and of what a lambda over rows with it yields."""
    body = rows.args[1]
    new = body.args[0]
    types = (key.type, known_types(new)[0])
    entry = t.StructType([t.StructField("key", types[0]), t.StructField("value", types[1])])
    body.args = [call("named_struct", literal("key"), key, literal("value"), new, type=entry)]
    rows.type = t.ArrayType(entry)
    return kernel("map_of", t.MapType(*types), rows)


@rule("transform_values", "transform_keys")
def _transform_rule(node: Node, typist: Typist) -> Node | None:
    mapped, body = node.args
    (a,) = known_types(mapped)
    pair = t.StructType([t.StructField("key", a.keyType), t.StructField("value", a.valueType)])
    entries = call("map_entries", mapped, type=t.ArrayType(pair))
    made = _over_struct(node, entries, body, pair)
    row = made.args[1]
    kept = Node("access", ".", [_pair(pair)], a.keyType, value="key")
    if node.name == "transform_keys":
        kept = Node("access", ".", [_pair(pair)], a.valueType, value="value")
    new = row.args[0]
    key, value = (kept, new) if node.name == "transform_values" else (new, kept)
    (b,) = known_types(new)
    types = (a.keyType, b) if node.name == "transform_values" else (b, a.valueType)
    rows = t.StructType([t.StructField("key", types[0]), t.StructField("value", types[1])])
    row.args = [call("named_struct", literal("key"), key, literal("value"), value, type=rows)]
    made.type = t.ArrayType(rows)
    return kernel("map_of", t.MapType(*types), made)


def _pair(type_: DataType) -> Node:
    return Node("column", "pair_", [], type_, parts=("pair_",))


def _over_struct(node: Node, rows: Node, body: Node, pair: DataType) -> Node:
    """A lambda of two names as one over structs of two fields."""
    names = [name.casefold() for name in body.value]
    for part in body.args[0].walk():
        if part.kind == "column" and part.parts[0].casefold() in names:
            field = pair.fields[names.index(part.parts[0].casefold())]
            made = Node("access", ".", [_pair(pair)], field.dataType, value=field.name)
            for name in part.parts[1:]:
                made = Node("access", ".", [made], part.type, value=name)
            part.by = made
    lambda_ = Node("lambda", "", [body.args[0]], value=("pair_",))
    return call("transform", rows, lambda_, type=node.type)


@rule("slice")
def _slice(node: Node, typist: Typist) -> Node | None:
    (a,) = known_types(node.args[0])
    if not isinstance(a, t.ArrayType):
        raise refuse(f"slice() of {st.type_text(a)}", "give it an array", node)
    return kernel(
        "slice_of", a, node.args[0], *(implicit(arg, st.INT, node) for arg in node.args[1:])
    )


@rule("arrays_overlap")
def _overlap(node: Node, typist: Typist) -> Node | None:
    target = common_type_of(node.args, what="arrays_overlap() of values")
    if not isinstance(target, t.ArrayType) or not isinstance(target.elementType, EASY):
        raise refuse(
            f"arrays_overlap() of {st.type_text(target)}", "give it arrays of plain values", node
        )
    return kernel("arrays_overlap", st.BOOLEAN, *(spark_cast(arg, target) for arg in node.args))


def _field_of_items(base: Node, type_: DataType, name: str) -> Node | None:
    """The list of a field of each struct in an array; None where there is no such field."""
    if not (isinstance(type_, t.ArrayType) and isinstance(type_.elementType, t.StructType)):
        return None
    found = st.field_type(type_, name)
    if found is None:
        return None
    item = Node("column", "x_", [], type_.elementType, parts=("x_",))
    field = Node("access", ".", [item], found.elementType, value=name)
    return call("transform", base, Node("lambda", "", [field], value=("x_",)), type=found)


@rule("access")
def _access(node: Node, typist: Typist) -> Node | None:
    if node.name != "[":
        return _field_of_items(node.args[0], node.args[0].now.type, node.value)
    base, key = node.args
    (a,) = known_types(base)
    if base.now.name == "arrays_zip":
        raise refuse("an element of arrays_zip()", "take the elements of its arrays", node)
    if isinstance(key.constant, str) and (found := _field_of_items(base, a, key.constant)):
        return found
    if isinstance(a, t.ArrayType) and not isinstance(key.constant, str):
        return kernel("item_at", a.elementType, base, implicit(key, st.INT, node))
    if isinstance(a, t.MapType) and key.now.kind != "literal":
        target = st.common(a.keyType, known_types(key)[0])
        if target is None or not st.same(target, a.keyType):
            raise refuse(
                f"a key of the type {st.type_text(known_types(key)[0])}",
                "cast it to the type of the keys",
                node,
            )
        return kernel("value_at", a.valueType, base, spark_cast(key, target))
    return None


@rule("array_except", "array_intersect", "array_union")
def _set_of_items(node: Node, typist: Typist) -> Node | None:
    """The engine takes an array of constants for one without NULLs, and refuses or loses them."""
    if not all(isinstance(arg.now.type, t.ArrayType) for arg in node.args):
        return None
    if not any(arg.now.kind == "call" and arg.now.name == "array" for arg in node.args):
        return None
    target = common_type_of(node.args, what=f"{node.name}() of arrays")
    if not isinstance(target.elementType, EASY):
        return None
    return kernel(node.name, target, *(spark_cast(arg, target) for arg in node.args))


@rule("get", "try_element_at")
def _member(node: Node, typist: Typist) -> Node | None:
    array, key = node.args
    (a,) = known_types(array)
    if not isinstance(a, t.ArrayType):
        return None
    name = "get_item" if node.name == "get" else "try_element"
    return kernel(name, a.elementType, array, implicit(key, st.INT, node))


@rule("map_concat")
def _map_concat(node: Node, typist: Typist) -> Node | None:
    if len(node.args) < 2:
        return None
    types = known_types(*node.args)
    if not all(isinstance(a, t.MapType) for a in types):
        raise refuse("map_concat() of other things than maps", "give it maps", node)
    target = common_type_of(node.args, what="map_concat() of maps")
    args = [spark_cast(arg, target) for arg in node.args]
    if all(a is b for a, b in zip(args, node.args, strict=True)):
        node.type = target
        return None
    return call("map_concat", *args, type=target)


@rule("array", "map")
def _array_rule(node: Node, typist: Typist) -> Node | None:
    if not node.args:
        return None
    if node.name == "array":
        target = common_type_of(node.args, what="array() of values")
        args = [spark_cast(arg, target) for arg in node.args]
        result: DataType = t.ArrayType(target)
    else:
        if len(node.args) % 2:
            raise refuse("map() of an odd number of values", "give it keys and values", node)
        keys, values = node.args[::2], node.args[1::2]
        key, value = (
            common_type_of(keys, what="map() of keys"),
            common_type_of(values, what="map() of values"),
        )
        pairs = zip(keys, values, strict=True)
        args = [made for k, v in pairs for made in (spark_cast(k, key), spark_cast(v, value))]
        result = t.MapType(key, value)
    if all(a is b for a, b in zip(args, node.args, strict=True)):
        return None
    return call(node.name, *args, type=result)


@rule("struct", "named_struct")
def _struct(node: Node, typist: Typist) -> Node | None:
    """The type of a struct has the names of its parts, which a question over NULLs would lose."""
    if node.name == "named_struct":
        names = [constant_of(arg) for arg in node.args[::2]]
        values = node.args[1::2]
    else:
        values = node.args
        names = [
            arg.value[0]
            if arg.kind == "alias"
            else arg.parts[-1]
            if arg.kind == "column"
            else f"col{k}"
            for k, arg in enumerate(values, 1)
        ]
    types = [arg.now.type for arg in values]
    if None not in types and all(isinstance(name, str) for name in names):
        node.type = t.StructType([t.StructField(n, a) for n, a in zip(names, types, strict=True)])
    return None
