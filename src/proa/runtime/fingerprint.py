"""Fingerprints of queries: equal as long as the query is, whenever and wherever it is declared."""

from __future__ import annotations

import hashlib
from typing import Any

from proa.graph import FlowNode
from proa.pipelines.definitions import Dataset

_NUMBERED = frozenset({"plan_id", "target_plan_id"})
_LEFT_OUT = frozenset({"origin", "source_info"})


def fingerprint(node: FlowNode, dataset: Dataset) -> str:
    """32 hexadecimal digits over a flow's plan and the rules of the dataset it feeds."""
    digest = hashlib.sha256()
    _feed(digest, node.plan.template, {})
    for leaf in node.plan.leaves:
        digest.update(repr(leaf).encode())
    rules = [(e.name, _condition(e.condition), e.violation) for e in dataset.expectations]
    digest.update(repr((rules, _schema(dataset.schema), dataset.partition_cols)).encode())
    return digest.hexdigest()[:32]


def _feed(digest: Any, message: Any, numbers: dict[int, int]) -> None:
    """Plan ids count by appearance, and where a column was written does not count."""
    for field, value in message.ListFields():
        if field.name in _LEFT_OUT:
            continue
        digest.update(f"{field.number}:".encode())
        if field.name in _NUMBERED:
            value = numbers.setdefault(value, len(numbers))  # noqa: PLW2901
        repeated = not isinstance(value, (str, bytes)) and hasattr(value, "__len__")
        if repeated and hasattr(value, "items"):
            for key in sorted(value):
                digest.update(repr(key).encode())
                _value(digest, value[key], numbers)
        elif repeated and not hasattr(value, "ListFields"):
            for item in value:
                _value(digest, item, numbers)
        else:
            _value(digest, value, numbers)
        digest.update(b";")


def _value(digest: Any, value: Any, numbers: dict[int, int]) -> None:
    if hasattr(value, "ListFields"):
        _feed(digest, value, numbers)
    else:
        digest.update(repr(value).encode())


def _condition(condition: Any) -> str:
    return condition if isinstance(condition, str) else str(condition)


def _schema(schema: Any) -> str:
    if schema is None or isinstance(schema, str):
        return schema or ""
    text: str = schema.json()
    return text
