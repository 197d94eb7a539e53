"""What is known about a query's columns: some of their types, and what makes a row unique."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import types as t

from proa.engine.spark_functions import GENERATORS, RETURNS_DOUBLE, SAME_TYPE
from proa.errors import PipelineError
from proa.formats.reader_options import METADATA_NAME
from proa.graph.query import Operator, Output, QueryStep, Term, TermKind
from proa.pipelines.ddl import parse_schema, parse_type

Types = dict[str, t.DataType]
"""By column, lower case; a column that is missing is of unknown type."""
Key = frozenset[str]
"""Columns (or texts of expressions), lower case, whose values identify a row."""
Keys = frozenset[Key]

ONE_ROW: Key = frozenset()
"""The key of a result that has one row."""

PLACE_KEY: Key = frozenset(
    f"{METADATA_NAME}.{name}" for name in ("shipment", "file_index", "row_index")
)
"""The key that the rows of files have."""

_SAME_ROWS = (Operator.FILTER, Operator.LIMIT, Operator.SAMPLE, Operator.SORT, Operator.WATERMARK)
"""Operators whose rows are rows of their input, with the same columns."""
_EQUALS = ("eq", "==", "nullsafeeq", "<=>")


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
        """The keys that are declared or proven for a step's rows; empty if there are none."""
        if step.operator is Operator.SOURCE:
            known = self.keys.get(step.dataset or "", frozenset())
            return known | {PLACE_KEY} if is_tracked(step) else known
        if step.operator is Operator.AGGREGATE:
            return _grouping_keys(step)
        below = self.keys_of(step.inputs[0]) if len(step.inputs) == 1 else frozenset()
        if step.operator in (Operator.PROJECT, Operator.EXTEND) and _multiplies(step.outputs):
            return frozenset()
        if step.operator is Operator.PROJECT:
            return _projected_keys(below, step.outputs)
        if step.operator is Operator.EXTEND:
            made = {output.column.lower() for output in step.outputs if output.column}
            return frozenset(key for key in below if not key & made)
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
        return below if step.operator in _SAME_ROWS else frozenset()

    def visible_keys(self, step: QueryStep) -> Keys:
        """The keys of a step's rows for what stands behind a select list: ORDER BY and QUALIFY.

        They may name columns that are not selected.
        """
        keys = self.keys_of(step)
        if step.operator is not Operator.PROJECT or _multiplies(step.outputs):
            return keys
        hidden = {
            output.column.lower()
            for output in step.outputs
            if output.column is not None and naming(output.term) != output.column.lower()
        }
        below = self.keys_of(step.inputs[0]) if len(step.inputs) == 1 else frozenset()
        return keys | {key for key in below if not key & hidden}


def is_total(
    order: Iterable[Term],
    partition: Iterable[Term],
    keys: Keys,
    columns: Collection[str] | None = None,
) -> bool:
    """Whether rows of a partition that are equal in `order` are the same row, or look the same.

    They are when order and partition hold a key, or all `columns`: those of the rows that matter.
    """
    terms = (*order, *partition)
    names = {naming(term) for term in terms}
    if any(key <= names for key in keys):
        return True
    if columns is not None and set(columns) <= names:
        return True
    return any(
        part.kind is TermKind.STAR and not (above and above[0].name == "count")
        for term in terms
        for part, above in term.walk()
    )


def naming(term: Term) -> str:
    """How a key names a term: a column by its own name, anything else by its text.

    A field of `_metadata` is named with it: the query's own columns may be called the same.
    """
    if term.kind is not TermKind.COLUMN:
        return term.text.lower()
    parts = [part.strip("`").lower() for part in term.name.split(".")]
    if METADATA_NAME in parts[:-1]:
        return ".".join(parts[parts.index(METADATA_NAME) :])
    return term.column


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


def _multiplies(outputs: tuple[Output, ...]) -> bool:
    """Whether a generator makes several rows of one."""
    return any(
        term.kind is TermKind.CALL and term.name in GENERATORS
        for output in outputs
        for term, _ in output.term.walk()
    )


def _grouping_keys(step: QueryStep) -> Keys:
    return _renamed_keys(frozenset({frozenset(naming(key) for key in step.keys)}), step.outputs)


def _projected_keys(below: Keys, outputs: tuple[Output, ...]) -> Keys:
    star = any(output.term.kind is TermKind.STAR for output in outputs)
    made = {naming(output.term) for output in outputs if output.column is not None}
    return _renamed_keys(frozenset(key for key in below if star or key <= made), outputs)


def _renamed_keys(keys: Keys, outputs: tuple[Output, ...]) -> Keys:
    """The keys by the outputs' names, and by those of the input where these still mean the same."""
    aliases: dict[str, str] = {}
    for output in outputs:
        if output.column is not None:
            aliases.setdefault(naming(output.term), output.column.lower())
    hidden = {new for old, new in aliases.items() if new != old}
    found = {key for key in keys if not key & hidden}
    return frozenset(found | {frozenset(aliases.get(name, name) for name in key) for key in keys})


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
        for left in _equal_to_one(output.term):
            window = left if left.kind is TermKind.WINDOW else windows.get(left.column)
            if window is not None and window.args[0].name == "row_number":
                found.add(frozenset(naming(part) for part in window.partition))
    return frozenset(found)


def _equal_to_one(condition: Term) -> Iterator[Term]:
    """The terms that a condition says to be 1, all of its parts being true."""
    if condition.name == "and":
        for part in condition.args:
            yield from _equal_to_one(part)
    elif condition.name in _EQUALS and len(condition.args) == 2:
        for term, value in (condition.args, condition.args[::-1]):
            if value.kind is TermKind.LITERAL and value.name == "1":
                yield term


def is_tracked(step: QueryStep) -> bool:
    """Whether a step reads files through the Auto Loader."""
    return (
        step.operator is Operator.SOURCE
        and step.dataset is None
        and step.format in {"", "cloudfiles"}
    )


def rows_of_files(step: QueryStep) -> bool:
    """Whether each row of a step is a row of files, and no two are the same one's."""
    while step.operator in _ROW_BY_ROW and len(step.inputs) == 1:
        step = step.inputs[0]
    return is_tracked(step)


_ROW_BY_ROW = (
    Operator.EXTEND,
    Operator.FILTER,
    Operator.PROJECT,
    Operator.RENAME,
    Operator.WATERMARK,
)


# -- types of terms ---------------------------------------------------------------------------------


def type_of(term: Term, columns: Mapping[str, t.DataType]) -> t.DataType | None:
    """A term's type, when it is known."""
    if term.kind is TermKind.CAST:
        return _parse_type(term.name)
    if term.kind is TermKind.LITERAL:
        return _parse_type(term.type)
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


def _parse_type(name: str) -> t.DataType | None:
    try:
        return parse_type(name) if name else None
    except PipelineError:
        return None
