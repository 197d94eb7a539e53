"""Walking and rewriting Spark Connect plans, whatever relations and expressions they are made of.

A plan is a tree of protobuf messages. It is walked by its descriptors, not by a list of node types,
so a relation inside an expression, or one that a later Spark adds, is found like any other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from pyspark.sql.connect import proto

from proa.errors import SourceLocation

Relation = Any
"""A `spark.connect.Relation`: protobuf's generated classes are untyped here."""
Message = Any

_FIRST_FRESH_ID = 1 << 40
"""Plan ids below belong to pyspark's own counter, which starts at 0."""
_fresh_ids = itertools.count(_FIRST_FRESH_ID)

_OPAQUE = (proto.RelationCommon, proto.Expression.Literal, proto.ExpressionCommon)
"""Messages that hold no relation and no expression, and may be large."""


def fresh_plan_id() -> int:
    """A plan id that no other node of this process has."""
    return next(_fresh_ids)


def parts(message: Message) -> Iterator[Message]:
    """The messages right inside `message`."""
    for field, value in message.ListFields():
        kind = field.message_type
        if kind is None:
            continue
        if kind.GetOptions().map_entry:
            if kind.fields_by_name["value"].message_type is not None:
                yield from value.values()
        elif hasattr(value, "ListFields"):
            yield value
        else:
            yield from value


def walk(message: Message) -> Iterator[Message]:
    """`message` and all messages inside it, outer ones first; literals and origins left out."""
    if isinstance(message, _OPAQUE):
        return
    yield message
    for part in parts(message):
        yield from walk(part)


def relations(message: Message) -> Iterator[Relation]:
    """All relations in `message`, outer ones first."""
    return (part for part in walk(message) if isinstance(part, proto.Relation))


def kind(relation: Relation) -> str:
    """The relation's type as protobuf names it ("project", "read"); "" for an empty one."""
    return relation.WhichOneof("rel_type") or ""


def replace(relation: Relation, by: Relation) -> None:
    """Put `by` where `relation` stands. Its plan id stays, so that columns still refer to it."""
    plan_id = relation.common.plan_id if relation.common.HasField("plan_id") else None
    relation.CopyFrom(by)
    if plan_id is not None:
        relation.common.plan_id = plan_id
    elif relation.common.HasField("plan_id"):
        relation.common.ClearField("plan_id")


def renumber(relation: Relation, new_id: Callable[[], int] = fresh_plan_id) -> Relation:
    """A copy whose plan ids, and the columns' references to them, are fresh, or what `new_id` says.

    A tree may not hold a plan id twice: Spark could not tell which node a column belongs to.
    """
    copy = proto.Relation()
    copy.CopyFrom(relation)
    ids: dict[int, int] = {}
    for node in relations(copy):
        if node.common.HasField("plan_id"):
            if node.common.plan_id not in ids:
                ids[node.common.plan_id] = new_id()
            node.common.plan_id = ids[node.common.plan_id]
    for part in walk(copy):
        if "plan_id" in part.DESCRIPTOR.fields_by_name and part.plan_id in ids:
            part.plan_id = ids[part.plan_id]
    return copy


def rewrite(relation: Relation, visit: Callable[[Relation], bool]) -> None:
    """Call `visit` on each relation of the tree, outer ones first; it may change its argument.

    Where it returns True, the relation is finished and nothing below it is visited.
    """
    pending: list[Message] = [relation]
    while pending:
        message = pending.pop()
        if isinstance(message, _OPAQUE):
            continue
        if isinstance(message, proto.Relation) and visit(message):
            continue
        pending.extend(reversed(list(parts(message))))


def own_parts(node: Message) -> Iterator[Message]:
    """The messages inside a relation's operator that are not inside its inputs."""
    for part in parts(node):
        if not isinstance(part, proto.Relation):
            yield part
            yield from own_parts(part)


def location(message: Message) -> SourceLocation | None:
    """Where the user wrote the node (a relation's or an expression's origin), when it is known."""
    if not hasattr(message, "common") or not message.HasField("common"):
        return None
    return _call_site(message.common.origin.python_origin.call_site)


def _call_site(text: str) -> SourceLocation | None:
    file, _, line = text.partition("\n")[0].rpartition(":")
    return SourceLocation(file, int(line)) if file and line.isdigit() else None


def alias(name: str, inner: Relation) -> Relation:
    """Return `inner` under a name."""
    plan = proto.Relation()
    plan.common.plan_id = fresh_plan_id()
    plan.subquery_alias.alias = name
    plan.subquery_alias.input.CopyFrom(inner)
    return plan
