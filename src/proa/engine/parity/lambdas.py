"""Types of what lambdas name, and of the functions that take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import types as t

from proa.engine.parity import spark_types as st
from proa.engine.parity.sql_nodes import DataType, Node

if TYPE_CHECKING:
    from proa.engine.parity.typist import Scope, Typist


def type_lambdas(typist: Typist, node: Node, scope: Scope) -> None:
    """Type the arguments of a call with lambdas; sets the call's type where only lambdas tell it."""
    for arg in node.args:
        if arg.kind != "lambda":
            typist.node(arg, scope)
    types = [arg.now.type for arg in node.args]
    lambdas = [arg for arg in node.args if arg.kind == "lambda"]
    if node.name in {"aggregate", "reduce"}:
        _fold(typist, node, scope, types)
        return
    given = _argument_types(node.name, types)
    body = lambdas[0]
    _body(typist, body, scope, given)
    node.type = _result(node.name, types, body.type)


def _body(typist: Typist, node: Node, scope: Scope, given: list[DataType]) -> None:
    names = {name.casefold(): type_ for name, type_ in zip(node.value, given, strict=False)}
    typist.node(node.args[0], scope.inner(names))
    node.type = node.args[0].now.type


def _fold(typist: Typist, node: Node, scope: Scope, types: list[DataType]) -> None:
    item = types[0].elementType if isinstance(types[0], t.ArrayType) else None
    state = types[1]
    _body(typist, node.args[2], scope, [state, item])
    node.type = state
    if len(node.args) > 3:
        _body(typist, node.args[3], scope, [state])
        node.type = node.args[3].type


def _argument_types(name: str, types: list[DataType]) -> list[DataType]:
    first = types[0]
    if name == "map_zip_with":
        second = types[1]
        return [
            getattr(first, "keyType", None), getattr(first, "valueType", None),
            getattr(second, "valueType", None),
        ]  # fmt: skip
    if name == "zip_with":
        return [getattr(types[0], "elementType", None), getattr(types[1], "elementType", None)]
    if isinstance(first, t.MapType):
        return [first.keyType, first.valueType]
    item = getattr(first, "elementType", None)
    return [item, item] if name == "array_sort" else [item, st.INT]


def _result(name: str, types: list[DataType], body: DataType) -> DataType:
    first = types[0]
    if name in {"transform", "zip_with"}:
        return None if body is None else t.ArrayType(body)
    if name in {"filter", "array_sort", "map_filter"}:
        return first
    if name in {"exists", "forall", "any", "all"}:
        return st.BOOLEAN
    if body is None or not isinstance(first, t.MapType):
        return None
    if name == "transform_keys":
        return t.MapType(body, first.valueType)
    return t.MapType(first.keyType, body)
