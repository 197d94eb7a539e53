"""What the corpus has shown to differ from Spark and no rule makes equal: refused by name.

`refused.json` is made by `tools/parity_table.py`: for each function the types of arguments (constants as
they are written) over which its answer was not Spark's. A function that differs over most of them is
refused as a whole.
"""

from __future__ import annotations

import functools
import json
from importlib import resources

from proa.engine.parity import spark_types as st
from proa.engine.parity.coerce import REMEDY, refuse
from proa.engine.parity.sql_nodes import Node

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


def check(node: Node) -> None:
    """Raise DiffersError where the table says so."""
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


def rows() -> list[tuple[str, list[str], str]]:
    """(name, types of arguments, what to do instead) of all that is refused by the table."""
    return [
        (name, types, _REMEDIES.get(name, REMEDY))
        for name, types in sorted(_refused_names().items())
    ]
