"""Writes nodes back as SQL text: what no rule changed is a slice of what its author wrote."""

from __future__ import annotations

from decimal import Decimal

from proa.engine.parity.spark_types import type_text
from proa.engine.parity.sql_nodes import Node
from proa.text import string_literal

_INFIX = {"+", "-", "*", "/", "%", "==", "<=>", "!=", "<", "<=", ">", ">=", "and", "or", "&", "|", "^",
          "div", "like"}  # fmt: skip


def splice(text: str, start: int, end: int, nodes: list[Node]) -> str:
    """text[start:end] with each changed node of `nodes`, which lie in it, written anew."""
    pieces, at = [], start
    for node in sorted(_place_nodes(nodes), key=lambda n: n.start):
        if node.changed:
            pieces += [text[at : node.start], render_node(text, node)]
            at = node.end
    return "".join([*pieces, text[at:end]])


def _place_nodes(nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if node.start >= 0]


def render_node(text: str, node: Node) -> str:
    """`node`, which was read from `text` or made by a rule, as SQL."""
    if node.by is not None:
        return render_node(text, node.by)
    if node.start >= 0:
        return splice(text, node.start, node.end, _inside(node))
    args = [render_node(text, arg) for arg in node.args]
    if node.kind == "call":
        return _call_text(node, args)
    if node.kind == "cast":
        return f"{node.name}({args[0]} AS {type_text(node.value)})"
    if node.kind == "literal":
        return constant(node)
    if node.kind == "case":
        whens = "".join(
            f" WHEN {when} THEN {then}"
            for when, then in zip(args[:-1:2], args[1:-1:2], strict=True)
        )
        return f"(CASE{whens} ELSE {args[-1]} END)"
    if node.kind == "kernel":
        assert node.shown, f"the kernel {node.name} has no name yet"
        return f"{node.shown}({', '.join(args)})"
    if node.kind == "lambda":
        names = ", ".join(node.value)
        return f"({names}) -> {args[0]}" if len(node.value) > 1 else f"{names} -> {args[0]}"
    if node.kind == "access":
        return f"{args[0]}[{args[1]}]" if node.name == "[" else f"({args[0]}).`{node.value}`"
    if node.kind == "column":
        return ".".join(f"`{part}`" for part in node.parts)
    if node.kind == "window":
        first, *spec = node.value.args
        return args[0] + splice(text, first.end, node.value.end, spec)
    if node.kind == "filter":
        return f"{args[0]} FILTER (WHERE {args[1]})"
    raise AssertionError(node.kind)


def _inside(node: Node) -> list[Node]:
    """The nodes next below that have a place in the text; a subquery's expressions too."""
    found: list[Node] = []
    for arg in node.args:
        if arg.start >= 0:
            found.append(arg)
        else:
            found += _inside(arg)
    if node.kind == "query":
        found += node.parts  # type: ignore[arg-type]  # the pass put the query's expressions there
    return found


def _call_text(node: Node, args: list[str]) -> str:
    if node.name in _INFIX and len(args) == 2:
        sign = {"==": "="}.get(node.name, node.name)
        return f"({args[0]} {sign} {args[1]})"
    if node.name == "not":
        return f"(NOT {args[0]})"
    if node.name == "negative":
        return f"(- {args[0]})"
    if node.name in {"isnull", "isnotnull"}:
        return f"({args[0]} IS {'NOT ' if node.name == 'isnotnull' else ''}NULL)"
    if node.name == "in":
        return f"({args[0]} IN ({', '.join(args[1:])}))"
    distinct = "DISTINCT " if node.distinct else ""
    return f"{node.name}({distinct}{', '.join(args)})"


def constant(node: Node) -> str:
    """A literal as SQL writes it."""
    value = node.value
    if value is None:
        return "NULL" if node.type is None else f"CAST(NULL AS {type_text(node.type)})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if node.name in {"date", "timestamp", "timestamp_ntz", "timestamp_ltz"}:
            return f"{node.name} {string_literal(value)}"
        return f"X'{value}'" if node.name == "binary" else string_literal(value)
    if isinstance(value, float):
        return f"CAST('{value!r}' AS double)"
    suffix = {"bigint": "L", "tinyint": "Y", "smallint": "S", "decimal": "BD"}.get(node.name, "")
    return f"{value:f}{suffix}" if isinstance(value, Decimal) else f"{value}{suffix}"
