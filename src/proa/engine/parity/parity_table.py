"""Which functions are the engine's own, which are rewritten, which are refused."""

from __future__ import annotations

from typing import Any

from proa.engine.parity import (  # noqa: F401 - they make their rules known
    lenient,
    rules_aggregates,
    rules_arrays,
    rules_choices,
    rules_json,
    rules_numbers,
    rules_text,
    rules_time,
)
from proa.engine.parity import spark_types as st
from proa.engine.parity.refusals import check
from proa.engine.parity.rule_base import RULES, by_signature
from proa.engine.parity.sql_nodes import Node, cast
from proa.engine.parity.typist import GENERATORS, Typist


def decide(node: Node, typist: Typist) -> Node | None:
    """What is to stand in the place of `node`; None for itself. Sets its type."""
    if node.kind == "call" and node.name.startswith("proa_"):
        node.type = typist.world.ask(node)
        return None
    if node.kind == "call" and (node.name in GENERATORS or node.name in _WINDOWED):
        check(node)
        node.type = _window_of(node)
        return RULES[node.name](node, typist) if node.name == "json_tuple" else None
    if node.kind in {"call", "cast", "interval"}:
        check(node)
    found = RULES.get(node.name if node.kind == "call" else _CLAUSES.get(node.kind, node.kind))
    answer = found(node, typist) if found is not None else None
    if found is None and node.kind == "call":
        answer = by_signature(node)
    if not typist.world.ansi:
        answer = lenient.answer_of(node, answer)
    if answer is not None:
        complete(answer, typist)
        return answer
    if node.type is None and node.kind == "call":
        node.type = typist.world.ask(node)
    return None


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
