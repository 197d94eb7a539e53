"""What is known about a query's columns: some of their types, and what makes a row unique."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import types as t

from proa.engine.spark_functions import RETURNS_DOUBLE, SAME_TYPE
from proa.errors import PipelineError
from proa.graph.query import Operator, Output, QueryStep, Term, TermKind
from proa.pipelines.ddl import parse_schema, parse_type

Types = dict[str, t.DataType]
"""By column, lower case; a column that is missing is of unknown type."""
Key = frozenset[str]
"""Columns (or texts of expressions), lower case, whose values identify a row."""
Keys = frozenset[Key]

ONE_ROW: Key = frozenset()
"""The key of a result that has one row."""

_UNIQUE_LOOKING = re.compile(
    r"(?:^|_)(?:id|uuid|guid|ulid|key|pk|seq|sequence|sequence_num(?:ber)?|lsn|scn|offset|rowid|hash)$"
    r"|(?:Id|ID|Uuid|Key|Seq|SequenceNum(?:ber)?|Lsn|Offset)$"
)


@dataclass
class ColumnFacts:
    """What is known of the datasets upstream, by name."""

    types: dict[str, Types] = field(default_factory=dict)
    keys: dict[str, Keys] = field(default_factory=dict)

    # -- types ----------------------------------------------------------------------------------

    def types_of(self, step: QueryStep) -> Types:
        """The types of a step's columns, as far as they are known."""
        if step.operator is Operator.SOURCE:
            if step.dataset is not None:
                return self.types.get(step.dataset, {})
            return types_of_schema(step.schema)
        known = self.input_types(step)
        if step.operator in (Operator.PROJECT, Operator.AGGREGATE):
            kept = known if any(o.term.kind is TermKind.STAR for o in step.outputs) else {}
            return {**kept, **_types_of_outputs(step.outputs, known)}
        if step.operator is Operator.EXTEND:
            made = _types_of_outputs(step.outputs, known)
            replaced = {output.column.lower() for output in step.outputs if output.column}
            return {name: kind for name, kind in known.items() if name not in replaced} | made
        if step.operator is Operator.RENAME:
            names = {old.lower(): new.lower() for old, new in step.names}
            return {names.get(name, name): kind for name, kind in known.items()}
        return known

    def input_types(self, step: QueryStep) -> Types:
        """The types of the columns that a step's terms can refer to."""
        known: Types = {}
        clashing: set[str] = set()
        for below in step.inputs:
            for name, kind in self.types_of(below).items():
                if name in known and known[name] != kind:
                    clashing.add(name)
                known[name] = kind
        return {name: kind for name, kind in known.items() if name not in clashing}

    # -- keys -----------------------------------------------------------------------------------

    def keys_of(self, step: QueryStep) -> Keys:
        """What identifies a row of the step; empty when that is not known."""
        if step.operator is Operator.SOURCE:
            return self.keys.get(step.dataset or "", frozenset())
        if step.operator is Operator.AGGREGATE:
            return _grouped(step)
        below = self.keys_of(step.inputs[0]) if len(step.inputs) == 1 else frozenset()
        if step.operator is Operator.PROJECT:
            return _projected(below, step.outputs)
        if step.operator is Operator.DEDUPLICATE:
            if step.keys:
                return below | {frozenset(naming(key) for key in step.keys)}
            columns = columns_of(step)
            return below | {frozenset(columns)} if columns else below
        if step.operator is Operator.FILTER:
            return below | _first_of_each(step)
        if step.operator is Operator.LIMIT and step.count == 1:
            return frozenset({ONE_ROW})
        if step.operator is Operator.RENAME:
            names = {old.lower(): new.lower() for old, new in step.names}
            return frozenset(frozenset(names.get(name, name) for name in key) for key in below)
        return below


def is_total(order: Iterable[Term], partition: Iterable[Term], keys: Keys) -> bool:
    """Whether no two rows of a partition are equal in `order`, as far as can be judged.

    They are not when order and partition hold a key; and it is believed of an order that holds a
    column which is named like an identifier and is not what is partitioned by.
    """
    order, partition = tuple(order), tuple(partition)
    names = {naming(term) for term in (*order, *partition)}
    if any(key <= names for key in keys):
        return True
    fixed = {naming(term) for term in partition}
    for term in order:
        if naming(term) in fixed:
            continue
        if any(
            part.kind is TermKind.STAR and not (above and above[0].name == "count")
            for part, above in term.walk()
        ):
            return True
        columns = [part for part, _ in term.walk() if part.kind is TermKind.COLUMN]
        if any(_UNIQUE_LOOKING.search(column.name.rpartition(".")[2]) for column in columns):
            return True
    return False


def naming(term: Term) -> str:
    """How a key names a term: a column by its own name, anything else by its text."""
    return term.column if term.kind is TermKind.COLUMN else term.text.lower()


def columns_of(step: QueryStep) -> tuple[str, ...]:
    """A step's columns when all of them are known by name, else nothing."""
    while (
        step.operator
        in (Operator.FILTER, Operator.SORT, Operator.LIMIT, Operator.DEDUPLICATE, Operator.SAMPLE)
        and step.inputs
    ):
        step = step.inputs[0]
    if step.operator not in (Operator.PROJECT, Operator.AGGREGATE):
        return ()
    if any(output.column is None for output in step.outputs):
        return ()
    return tuple(output.column.lower() for output in step.outputs if output.column)


def _grouped(step: QueryStep) -> Keys:
    names = frozenset(naming(key) for key in step.keys)
    aliases: dict[str, str] = {}
    for output in step.outputs:
        if output.column is not None:
            aliases.setdefault(naming(output.term), output.column.lower())
    return frozenset({names, frozenset(aliases.get(name, name) for name in names)})


def _projected(below: Keys, outputs: tuple[Output, ...]) -> Keys:
    aliases: dict[str, str] = {}
    star = False
    for output in outputs:
        if output.term.kind is TermKind.STAR:
            star = True
        elif output.column is not None:
            aliases.setdefault(naming(output.term), output.column.lower())
    kept = [key for key in below if star or all(name in aliases for name in key)]
    mapped = {frozenset(aliases.get(name, name) for name in key) for key in kept}
    return frozenset({*mapped, *kept})


def _first_of_each(step: QueryStep) -> Keys:
    """`WHERE n = 1` over `n = row_number() OVER (PARTITION BY k ...)` makes k a key."""
    windows: dict[str, Term] = {}
    below = step.inputs[0] if step.inputs else step
    while below.operator in (Operator.PROJECT, Operator.EXTEND, Operator.FILTER) and below.inputs:
        for output in below.outputs:
            if output.column and output.term.kind is TermKind.WINDOW:
                windows.setdefault(output.column.lower(), output.term)
        below = below.inputs[0]
    found = set()
    for output in step.outputs:
        for term, _ in output.term.walk():
            if len(term.args) == 2 and term.args[1].name == "1" and "or" not in term.name:
                left = term.args[0]
                window = left if left.kind is TermKind.WINDOW else windows.get(left.column)
                if window is not None and window.args[0].name == "row_number":
                    found.add(frozenset(naming(part) for part in window.partition))
    return frozenset(found)


# -- types of terms ---------------------------------------------------------------------------------


def type_of(term: Term, columns: Mapping[str, t.DataType]) -> t.DataType | None:
    """A term's type, when it is known."""
    if term.kind is TermKind.CAST:
        return _parsed(term.name)
    if term.kind is TermKind.LITERAL:
        return _parsed(term.type)
    if term.kind is TermKind.COLUMN:
        return _field(term.name, columns)
    if term.kind is TermKind.WINDOW:
        return type_of(term.args[0], columns)
    if term.kind is TermKind.OTHER and len(term.args) == 1:
        return type_of(term.args[0], columns)
    if term.kind is not TermKind.CALL:
        return None
    if term.name in RETURNS_DOUBLE:
        return t.DoubleType()
    kinds = [type_of(argument, columns) for argument in term.args]
    if term.name == "/" and all(isinstance(kind, t.IntegralType) for kind in kinds):
        return t.DoubleType()
    if term.name in SAME_TYPE:
        return next((kind for kind in kinds if is_float(kind)), kinds[0] if kinds else None)
    return None


def is_float(kind: t.DataType | None) -> bool:
    """Whether sums of the type depend on the order of their terms."""
    return isinstance(kind, t.DoubleType | t.FloatType)


def types_of_schema(schema: Any) -> Types:
    """The columns of a schema given as DDL, as pyspark's JSON or as a StructType."""
    if not schema:
        return {}
    if isinstance(schema, str):
        try:
            if schema.lstrip().startswith("{"):
                schema = t.StructType.fromJson(json.loads(schema))
            else:
                schema = parse_schema(schema)
        except (PipelineError, ValueError):
            return {}
    return {name.lower(): kind for name, kind in ((f.name, f.dataType) for f in schema.fields)}


def _types_of_outputs(outputs: tuple[Output, ...], known: Types) -> Types:
    found: Types = {}
    for output in outputs:
        kind = type_of(output.term, known)
        if output.column is not None and kind is not None:
            found[output.column.lower()] = kind
    return found


def _field(name: str, columns: Mapping[str, t.DataType]) -> t.DataType | None:
    """The type of `a.b.c`, whose first parts may be a table's name."""
    parts = [part.strip("`").lower() for part in name.split(".")]
    for start in range(len(parts)):
        kind = columns.get(parts[start])
        for part in parts[start + 1 :]:
            fields = kind.fields if isinstance(kind, t.StructType) else ()
            kind = next((f.dataType for f in fields if f.name.lower() == part), None)
        if kind is not None:
            return kind
    return None


def _parsed(name: str) -> t.DataType | None:
    try:
        return parse_type(name) if name else None
    except PipelineError:
        return None
