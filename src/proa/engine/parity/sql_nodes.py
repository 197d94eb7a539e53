"""An expression as the parity pass sees it, whether it came as SQL text or in a plan.

A node keeps the place where it was written: a span of the text, or a message of the plan. A rule
answers with another node that is put at that place (`by`); whatever no rule speaks of stays as its
author wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

DataType = Any
"""A `pyspark.sql.types.DataType`: pyspark is untyped here."""


@dataclass(eq=False, slots=True)
class Node:
    """An expression.

    `kind` is one of: literal, column, star, call, cast, lambda, case, window, access, alias, sort,
    interval, query, named, opaque. `name` is a call's function in lower case (operators too: "+",
    "==", "and"), a column's last part, a literal's type.
    """

    kind: str
    name: str = ""
    args: list[Node] = field(default_factory=list)
    type: DataType = None
    value: Any = None
    start: int = -1
    end: int = -1
    message: Any = None
    by: Node | None = None
    distinct: bool = False
    parts: tuple[str, ...] = ()
    shown: str = ""

    def walk(self) -> Iterator[Node]:
        yield self
        for arg in self.args:
            yield from arg.walk()

    @property
    def now(self) -> Node:
        """What stands here after the rules."""
        return self.by.now if self.by is not None else self

    @property
    def constant(self) -> Any:
        """The value of a literal; None for anything else."""
        node = self.now
        return node.value if node.kind == "literal" else None

    @property
    def is_null(self) -> bool:
        node = self.now
        return node.kind == "literal" and node.value is None

    @property
    def changed(self) -> bool:
        return self.by is not None or any(arg.changed for arg in self.args)


def call(name: str, *args: Node, type: DataType = None) -> Node:  # noqa: A002 - what it is
    """A call of the engine's function or operator `name`."""
    return Node("call", name, list(args), type)


def cast(node: Node, type: DataType) -> Node:  # noqa: A002
    """`node` as another type; itself where it has that type."""
    if node.type == type:
        return node
    return Node("cast", "cast", [node], type, value=type)


def literal(value: Any, type: DataType = None) -> Node:  # noqa: A002
    """A constant: None, bool, int or str."""
    return Node("literal", "", [], type, value=value)


def case(*pairs: tuple[Node, Node], other: Node, type: DataType) -> Node:  # noqa: A002
    """CASE WHEN ... END."""
    args = [part for pair in pairs for part in pair]
    return Node("case", "case", [*args, other], type)


def kernel(name: str, type: DataType, *args: Node) -> Node:  # noqa: A002
    """A call of one of Proa's own vectorised functions, see `kernels`."""
    return Node("kernel", name, list(args), type)


def struct(pairs: Sequence[tuple[str, Node]], type: DataType) -> Node:  # noqa: A002
    """named_struct of the pairs."""
    args = [part for name, node in pairs for part in (literal(name), node)]
    return call("named_struct", *args, type=type)
