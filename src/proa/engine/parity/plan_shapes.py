"""Relations of a plan that the embedded engine has in another form, or computes in another way."""

from __future__ import annotations

from typing import Any

from pyspark.sql import types as t
from pyspark.sql.connect import proto
from pyspark.sql.connect.types import pyspark_types_to_proto_types

from proa.engine.parity import spark_types as st
from proa.engine.parity.sql_nodes import DataType

Relation = Any
Column = tuple[str, str, DataType]
"""(qualifier, name, type)."""

_AGGREGATE = proto.Aggregate
SETS_OF_GROUPS = (
    _AGGREGATE.GROUP_TYPE_ROLLUP,
    _AGGREGATE.GROUP_TYPE_CUBE,
    _AGGREGATE.GROUP_TYPE_GROUPING_SETS,
)
_ROWS = "__proa_rows"


def without_empty_groups(relation: Relation) -> Relation:
    """An aggregation over sets of groups, which has no group where there are no rows.

    The engine has one of (): nothing was grouped, and NULL stands for it. It also takes sets of groups
    without the list of their expressions only.
    """
    counted = proto.Relation()
    counted.CopyFrom(relation)
    aggregate = counted.aggregate
    if aggregate.group_type == aggregate.GROUP_TYPE_GROUPING_SETS:
        aggregate.ClearField("grouping_expressions")
    rows = aggregate.aggregate_expressions.add().alias
    rows.name.append(_ROWS)
    rows.expr.unresolved_function.function_name = "count"
    rows.expr.unresolved_function.arguments.add().literal.integer = 1
    found = proto.Relation()
    found.drop.column_names.append(_ROWS)
    kept = found.drop.input.filter
    kept.condition.unresolved_function.function_name = ">"
    kept.condition.unresolved_function.arguments.add().CopyFrom(_column(_ROWS))
    kept.condition.unresolved_function.arguments.add().literal.integer = 0
    kept.input.CopyFrom(counted)
    _take_plan_id(found, kept.input)
    return found


def intersect_all(set_operation: Any) -> None:
    """Make A INTERSECT ALL B of the rows of A without those that B has not: A - (A - B).

    The engine's own answer has each row of A that is in B, however often it is there.
    """
    missing = proto.Relation()
    missing.set_op.CopyFrom(set_operation)
    for operation in (missing.set_op, set_operation):
        operation.set_op_type = operation.SET_OP_TYPE_EXCEPT
    for side in (missing.set_op.left_input, missing.set_op.right_input):
        side.common.ClearField("plan_id")
    set_operation.right_input.CopyFrom(missing)


def as_project(relation: Relation, columns: list[Column]) -> Relation:
    """`replace()` as a projection: each column of the kind of the values that are looked for.

    As Spark does it: a value is looked for as it is (1.5 in no column of integers), and what is put in
    its place becomes one of the column's type. `columns` are those of the relation's input.
    """
    replace = relation.replace
    found = proto.Relation()
    found.project.input.CopyFrom(replace.input)
    wanted = {name.casefold() for name in replace.cols}
    first = replace.replacements[0].old_value
    for _, name, type_ in columns:
        column = _column(name)
        looked = not wanted or name.casefold() in wanted
        if not (looked and _is_kind(type_, first.WhichOneof("literal_type"))):
            found.project.expressions.append(column)
            continue
        alias = found.project.expressions.add().alias
        alias.name.append(name)
        choice = alias.expr.unresolved_function
        choice.function_name = "when"
        for pair in replace.replacements:
            same = choice.arguments.add().unresolved_function
            same.function_name = "=="
            same.arguments.append(column)
            same.arguments.add().literal.CopyFrom(pair.old_value)
            made = choice.arguments.add()
            if pair.new_value.WhichOneof("literal_type") == type_.typeName():
                made.literal.CopyFrom(pair.new_value)
            else:
                made.cast.expr.literal.CopyFrom(pair.new_value)
                made.cast.type.CopyFrom(pyspark_types_to_proto_types(type_))
        choice.arguments.append(column)
    _take_plan_id(found, found.project.input)
    if relation.common.HasField("plan_id"):
        found.common.plan_id = relation.common.plan_id
    return found


def _is_kind(type_: DataType, literal: str | None) -> bool:
    if literal == "string":
        return isinstance(type_, t.StringType)
    if literal == "boolean":
        return isinstance(type_, t.BooleanType)
    return bool(st.is_number(type_))


def _column(name: str) -> Any:
    found = proto.Expression()
    found.unresolved_attribute.unparsed_identifier = f"`{name.replace('`', '``')}`"
    return found


def _take_plan_id(outer: Relation, inner: Relation) -> None:
    """Columns are named by the plan that yields them: `outer` yields them now."""
    if inner.common.HasField("plan_id"):
        outer.common.plan_id = inner.common.plan_id
        inner.common.ClearField("plan_id")
