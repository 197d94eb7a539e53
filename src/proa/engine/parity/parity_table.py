"""Which functions are the engine's own, which are rewritten, which are refused.

`refused.json` holds what the corpus has shown to differ from Spark and no rule makes equal. It is made by
`tools/parity_table.py`: for each function the types of arguments (constants as they are written) over
which its answer was not Spark's. A function that differs over most of them is refused as a whole.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

from proa.engine.parity import (  # noqa: F401 - they make their rules known
    rules_aggregates,
    rules_arrays,
    rules_choices,
    rules_json,
    rules_numbers,
    rules_text,
    rules_time,
)
from proa.engine.parity import spark_types as st
from proa.engine.parity.coerce import REMEDY, refuse
from proa.engine.parity.rule_base import RULES, by_signature
from proa.engine.parity.sql_nodes import Node, cast
from proa.engine.parity.typist import GENERATORS, Typist


def decide(node: Node, typist: Typist) -> Node | None:
    """What is to stand in the place of `node`; None for itself. Sets its type."""
    if node.kind == "call" and node.name.startswith("proa_"):
        node.type = typist.world.ask(node)
        return None
    if node.kind == "call" and (node.name in GENERATORS or node.name in _WINDOWED):
        refuse_known_difference(node)
        node.type = _window_of(node)
        return RULES[node.name](node, typist) if node.name == "json_tuple" else None
    if node.kind in {"call", "cast", "interval"}:
        refuse_known_difference(node)
    found = RULES.get(node.name if node.kind == "call" else _CLAUSES.get(node.kind, node.kind))
    answer = _answer_of(found, node, typist) if found is not None else None
    if found is None and node.kind == "call":
        answer = by_signature(node)
    if not typist.world.ansi:
        answer = _without_ansi(node, answer)
    if answer is not None:
        complete(answer, typist)
        return answer
    if node.type is None and node.kind == "call":
        node.type = typist.world.ask(node)
    return None


def _answer_of(rule: Any, node: Node, typist: Typist) -> Node | None:
    """A rule's answer. Raises DiffersError for a call with fewer arguments than the rule reads."""
    try:
        answer: Node | None = rule(node, typist)
    except (IndexError, TypeError, ValueError) as error:
        if node.kind != "call" or len(node.args) > _MOST_MISSED:
            raise
        count = len(node.args)
        what = f"{node.name}() with {count} argument{'s' * (count != 1)}"
        raise refuse(what, "look at what the function takes", node) from error
    return answer


_MOST_MISSED = 2
"""No rule reads more arguments than one above this without looking how many there are."""

_CLAUSES = {"filter": "filter clause", "window": "over clause"}
"""Clauses that have the name of a function."""

_WINDOWED = {
    **dict.fromkeys(("row_number", "rank", "dense_rank", "ntile"), st.INT),
    **dict.fromkeys(("percent_rank", "cume_dist"), st.DOUBLE),
    **dict.fromkeys(("lag", "lead", "first_value", "last_value", "first", "last", "any_value")),
}
"""The types of functions over windows; None for that of the first argument."""


def _window_of(node: Node) -> Any:
    type_ = _WINDOWED.get(node.name)
    return node.args[0].now.type if type_ is None and node.args else type_


def complete(node: Node, typist: Typist) -> None:
    """Ask for the types of calls that a rule made without saying theirs."""
    for arg in node.args:
        if arg.start < 0 and arg.by is None and arg.message is None:
            complete(arg, typist)
    if node.type is None and node.kind == "call":
        node.type = typist.world.ask(node)
    elif node.kind == "as":
        inner = node.args[0]
        node.by = inner if st.same(inner.type, node.type) else cast(inner, node.type)


_TRIES = {
    "from_text": "try_from_text",
    "to_decimal": "try_to_decimal",
    "divided": "try_divide",
    "remainder": "try_mod",
    "to_moment": "try_to_moment",
}
_RAISE = frozenset(
    {
        "whole",
        "seconds",
        "add",
        "subtract",
        "multiply",
        "div",
        "pmod",
        "item_at",
        "negated",
        "absolute",
    }
    | {f"decimal_{name}" for name in ("add", "subtract", "multiply", "divide", "remainder", "pmod")}
)


def _without_ansi(node: Node, answer: Node | None) -> Node | None:
    """Turn a rule's answer for `node` into that with `spark.sql.ansi.enabled=false`: NULL for an error.

    Raises DiffersError where it cannot be had.
    """
    if node.kind == "call" and node.name in {"+", "-", "*"}:
        types = [arg.now.type for arg in node.args]
        if all(map(st.is_integer, types)):
            node.type = st.common(*types) if len(types) == 2 else types[0]
            return None  # the engine's own arithmetic wraps around, as Spark's then does
    if answer is None:
        return None
    for part in answer.walk():
        if part.kind != "kernel" or part.start >= 0:
            continue
        if part.name in _RAISE:
            raise refuse(
                f"{node.name} with spark.sql.ansi.enabled=false",
                "leave ANSI on and use the try_ functions",
                node,
            )
        if part.name == "from_text":
            part.args = part.args[:1]
        part.name = _TRIES.get(part.name, part.name)
    return answer


_REMEDIES = {
    "hash": "use xxhash64() or md5() of text",
    "mode": "write mode(x, true)",
    "nth_value": "number the rows with row_number() and join",
}


@functools.cache
def _refused_names() -> dict[str, list[str]]:
    text = resources.files("proa.engine.parity").joinpath("refused.json").read_text()
    return dict(json.loads(text)["refused"])


def signature(node: Node) -> str:
    """The types of a call's arguments; of texts that are constants, the text."""
    parts = []
    for arg in node.args:
        constant = arg.constant
        if isinstance(constant, str) and arg.now.name in {"", "string"}:
            parts.append(repr(constant))
        else:
            parts.append("?" if arg.now.type is None else st.type_text(arg.now.type))
    return ", ".join(parts)


def title(node: Node) -> str:
    """The name under which a node stands in the table."""
    if node.kind == "cast":
        return f"cast to {st.type_text(node.value)}" if not isinstance(node.value, str) else "cast"
    if node.kind == "interval":
        return "interval"
    name = f"{node.name} of {node.value}" if node.name == "extract" else node.name
    if node.shown in {"over", "moving"}:
        name += f" {node.shown}"
    return name


def refuse_known_difference(node: Node) -> None:
    """Raise DiffersError where the table of refusals says so."""
    found = _refused_names().get(title(node))
    if found is None:
        return
    if "*" in found or signature(node) in found:
        shown = (
            title(node) if node.kind != "call" or not node.name.isidentifier() else f"{node.name}()"
        )
        shown += " over a window" if node.shown in {"over", "moving"} else ""
        types = "" if "*" in found else f" over ({signature(node)})"
        raise refuse(f"{shown}{types}", _REMEDIES.get(node.name, REMEDY), node)


def refused_rows() -> list[tuple[str, list[str], str]]:
    """(name, types of arguments, what to do instead) of all that is refused by the table."""
    return [
        (name, types, _REMEDIES.get(name, REMEDY))
        for name, types in sorted(_refused_names().items())
    ]
