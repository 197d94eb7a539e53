"""What becomes of the rules when `spark.sql.ansi.enabled` is false: NULL where ANSI has an error.

Apart because it says what ANSI mode off changes, for all rules.
"""

from __future__ import annotations

from proa.engine.parity import spark_types as st
from proa.engine.parity.coerce import refuse
from proa.engine.parity.sql_nodes import Node

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


def answer_of(node: Node, answer: Node | None) -> Node | None:
    """A rule's answer for `node` without ANSI. Raises DiffersError where it cannot be had."""
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
