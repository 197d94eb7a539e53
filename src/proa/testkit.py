"""For the tests of pipelines: one dataset's query, run on rows that the test gives.

    shop = PipelineUnderTest("path/of/the/project")

    def test_orders_without_an_id_are_dropped():
        rows = shop.rows("orders_clean", orders_bronze=[{"order_id": None}, {"order_id": "1"}])
        assert [row["order_id"] for row in rows] == ["1"]

Nothing is stored, and no server but the embedded engine is needed. The first call starts it, which
takes a few seconds; later ones take milliseconds.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
from pyspark.sql.connect import proto
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StringType, StructType

from proa.autoloader.hints import apply, parse_hints
from proa.autoloader.leaf_columns import declared_columns
from proa.clock import SystemClock
from proa.engine import Engine
from proa.errors import DataError, UserError
from proa.formats.place import PLACE_NAMES, metadata_type
from proa.formats.reader_options import METADATA_NAME, RESCUED_COLUMN
from proa.graph import DatasetLeaf, FilesLeaf, FlowNode, Leaf, TableLeaf, metadata
from proa.graph.analysis import Analysis, analyse
from proa.graph.external_tables import ExternalTables
from proa.graph.mistakes import Mistakes
from proa.lake.table_schema import to_arrow
from proa.lazy import compute as pc
from proa.pipelines.ddl import schema_of_text
from proa.pipelines.definitions import Expectation, Flow
from proa.pipelines.identifiers import Namespace, name_parts
from proa.pipelines.session_settings import engine_settings
from proa.runtime.compile import columns_of_files, compile_pipeline, loader_of, rows_of
from proa.runtime.dr_policy import DrPolicy
from proa.runtime.expectation_columns import flag_rows, flags_of
from proa.runtime.pipeline import from_project
from proa.violations import Violation

GivenRows: TypeAlias = Iterable[Mapping[str, Any]] | pa.Table
"""Rows as dicts, or as an Arrow table. A key that a row lacks is NULL."""


class PipelineUnderTest:
    """A project's pipeline, whose queries can be run one by one."""

    def __init__(
        self,
        project: str | Path,
        *,
        region: str | None = None,
        configuration: Mapping[str, str] | None = None,
    ) -> None:
        """`project` is the folder of `spark-pipeline.yml`; `configuration` adds to its own."""
        pipeline = from_project(Path(project).absolute(), region)
        settings = {**pipeline.configuration, **(configuration or {})}
        self._names = Namespace(pipeline.spec.catalog, pipeline.spec.database)
        self._engine = _engine().using(engine_settings(settings))
        self._tables = ExternalTables(settings, self._names)
        self._storage = pipeline.options
        self._graph = compile_pipeline(
            replace(pipeline, configuration=settings),
            self._engine,
            columns_of_files(self._engine, pipeline.options, SystemClock()),
            policy=DrPolicy(dr_safety="off"),
        ).graph

    def rows(
        self, dataset: str, given: Mapping[str, GivenRows] | None = None, /, **more: GivenRows
    ) -> list[dict[str, Any]]:
        """Return the rows that a dataset would hold if what it reads held these.

        Rows are given by the name of a table of the pipeline, of a table from elsewhere, or of the
        folder that files are read from. A table that is not given is computed by its own query.
        Rows that an expectation drops are dropped.

        Raises UserError if rows are missing or nobody reads them, and DataError if a row breaks an
        expectation that fails the update.
        """
        table, rules = self._compute(dataset, {**(given or {}), **more})
        keep = pa.array([True] * table.num_rows, pa.bool_())
        for flag in flags_of(rules):
            if flag.violation is Violation.FAIL and not pc.all(table[flag.column]).as_py():
                raise DataError(
                    f"a row of {dataset!r} breaks the expectation {flag.expectation!r}",
                    condition="EXPECTATION_VIOLATED",
                )
            if flag.violation is Violation.DROP:
                keep = pc.and_(keep, table[flag.column].combine_chunks())
        kept = table.filter(keep).drop_columns([flag.column for flag in flags_of(rules)])
        rows: list[dict[str, Any]] = kept.to_pylist()
        return rows

    def violations(
        self, dataset: str, given: Mapping[str, GivenRows] | None = None, /, **more: GivenRows
    ) -> dict[str, int]:
        """Return how many rows break each expectation of a dataset. Otherwise like `rows`."""
        table, rules = self._compute(dataset, {**(given or {}), **more})
        return {
            flag.expectation: table.num_rows - (pc.sum(table[flag.column]).as_py() or 0)
            for flag in flags_of(rules)
        }

    # -- plans ------------------------------------------------------------------------------------

    def _compute(
        self, dataset: str, given: Mapping[str, GivenRows]
    ) -> tuple[pa.Table, tuple[Expectation, ...]]:
        """Return the rows before any is dropped, with a column for each rule, and the rules."""
        name = self._name(dataset)
        inputs = _Inputs(dict(given))
        relation = self._relation(name, inputs)
        inputs.check(dataset)
        rules = self._graph.datasets[name].dataset.expectations
        frame = self._engine.dataframe(relation)
        return rows_of(self._engine, flag_rows(frame, rules)), rules

    def _name(self, dataset: str) -> str:
        name = self._graph.names.find(dataset)
        if name is None:
            raise UserError(
                f"the pipeline has no dataset {dataset!r}{self._graph.names.suggestion(dataset)}"
            )
        return name

    def _relation(self, name: str, inputs: _Inputs) -> Any:
        """Return the plan of a dataset's rows, all its flows together."""
        whole = None
        for flow in self._graph.datasets[name].flows:
            if flow.flow.cdc is not None:
                raise UserError(
                    f"{name!r} is fed by AUTO CDC, which needs what the table held before; test the"
                    " query of its source, or run the project"
                )
            stateful = flow.plan.stateful
            if stateful is not None and (
                stateful.keys or stateful.sides or stateful.delay is not None
            ):
                raise UserError(
                    f"the order of shipments decides the rows of {name!r}, and rows of a test have no"
                    " such order; test the query below the operator with state as a view of its own,"
                    " or run the project"
                )
            leaves = {leaf.key: self._leaf(leaf, flow, inputs) for leaf in flow.plan.leaves}
            plan = flow.plan.bind(leaves)
            whole = plan if whole is None else _union(whole, plan)
        return whole

    def _leaf(self, leaf: Leaf, flow: FlowNode, inputs: _Inputs) -> Any:
        match leaf:
            case DatasetLeaf():
                for name in inputs.names:
                    if self._graph.names.find(name) == leaf.dataset:
                        return _local(inputs.take(name), self._analysis.schemas.get(leaf.dataset))
                plan = self._relation(leaf.dataset, inputs)
                return self._without_dropped(leaf.dataset, plan)
            case FilesLeaf():
                if given := next((n for n in inputs.names if n in _names_of(leaf)), None):
                    return _local_files(inputs.take(given), leaf)
                if leaf.is_plain_read:
                    return loader_of(leaf, self._storage, SystemClock()).whole(self._engine)
                what = f"files of {leaf.key.split(':')[1]!r}"
            case TableLeaf():
                for name in inputs.names:
                    if leaf.path in {name, self._tables.path(name_parts(name))}:
                        return _local(inputs.take(name), None)
                what = f"the table {leaf.path!r}"
        raise UserError(f"{flow.target!r} reads {what}; give the test its rows")

    def _without_dropped(self, dataset: str, plan: Any) -> Any:
        rules = self._graph.datasets[dataset].dataset.expectations
        dropping = [rule for rule in rules if rule.violation is Violation.DROP]
        if not dropping:
            return plan
        frame = flag_rows(self._engine.dataframe(plan), dropping)
        for flag in flags_of(dropping):
            frame = frame.where(f"`{flag.column}`").drop(flag.column)
        return frame._plan.plan(self._engine.spark.client)  # noqa: SLF001 - pyspark's only way

    @functools.cached_property
    def _analysis(self) -> Analysis:
        return analyse(self._graph, self._engine.schema, _hinted_columns, Mistakes())


@dataclass
class _Inputs:
    """The rows that a test gives, by name, each to be taken once or more."""

    given: dict[str, GivenRows]

    def __post_init__(self) -> None:
        self._taken: set[str] = set()
        self._tables = {
            name: rows if isinstance(rows, pa.Table) else _table(list(rows))
            for name, rows in self.given.items()
        }

    @property
    def names(self) -> Iterator[str]:
        return iter(self.given)

    def take(self, name: str) -> pa.Table:
        self._taken.add(name)
        return self._tables[name]

    def check(self, dataset: str) -> None:
        """Raise UserError for rows that nobody has read."""
        for name in self.given:
            if name not in self._taken:
                raise UserError(
                    f"{dataset!r} does not read {name!r}; give rows of tables, files or tables from"
                    " elsewhere (a view is part of the query that reads it)"
                )


@functools.cache
def _engine() -> Engine:
    return Engine.start()


def _hinted_columns(_flow: Flow, leaf: FilesLeaf) -> StructType:
    """Return the columns of files as schema or hints tell them. Raises DataError without both."""
    known = declared_columns(leaf)
    if known is not None:
        return known
    hints = _option(leaf, "schemahints")
    if hints is None:
        raise DataError("files are not looked at")
    schema = apply(parse_hints(hints), StructType())
    return schema.add(RESCUED_COLUMN, StringType())


def _names_of(leaf: FilesLeaf) -> set[str]:
    """The names by which a test may give the files' rows."""
    return {leaf.path, leaf.key.split(":")[1]}


def _option(leaf: FilesLeaf, name: str) -> str | None:
    for key, value in leaf.options.items():
        if key.lower().removeprefix("cloudfiles.") == name:
            return value
    return None


# -- rows as plans ----------------------------------------------------------------------------------


def _table(rows: list[Mapping[str, Any]]) -> pa.Table:
    """Return rows as Arrow; a time without a zone is taken as UTC, as Spark's timestamps are."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _column([_with_zone(row.get(name)) for row in rows]) for name in names})


def _column(values: list[Any]) -> pa.Array:
    """Return values as Arrow; texts if they are of several types, to be cast where types are known."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])


def _with_zone(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def _local(table: pa.Table, schema: StructType | None) -> Any:
    """Return a plan of these rows, with the types of `schema` if it is known."""
    if schema is not None:
        table = _typed_rows(table, schema, exact=True)
    relation = proto.Relation()
    if not table.num_rows:
        relation.local_relation.schema = from_arrow_schema(table.schema).json()
        return relation
    data = pa.BufferOutputStream()
    with pa.ipc.new_stream(data, table.schema) as stream:
        stream.write_table(table)
    relation.local_relation.data = data.getvalue().to_pybytes()
    return relation


def _local_files(table: pa.Table, leaf: FilesLeaf) -> Any:
    """Return a plan of records of files, as the Auto Loader yields them."""
    if leaf.schema is not None:
        table = _typed_rows(table, schema_of_text(leaf.schema), exact=True)
    else:
        if hints := _option(leaf, "schemahints"):
            table = _typed_rows(table, apply(parse_hints(hints), StructType()), exact=False)
        rescues = leaf.options.get("proa.rescue") != "false"
        if rescues and RESCUED_COLUMN not in table.column_names:
            table = table.append_column(RESCUED_COLUMN, pa.nulls(table.num_rows, pa.string()))
    if metadata.OPTION in leaf.options:
        given: list[dict[str, Any]] = [{} for _ in range(table.num_rows)]
        if METADATA_NAME in table.column_names:
            given = [value or {} for value in table[METADATA_NAME].to_pylist()]
            table = table.drop_columns([METADATA_NAME])
        table = table.append_column(METADATA_NAME, pa.array(given, metadata_type(PLACE_NAMES)))
    return _local(table, None)


def _typed_rows(table: pa.Table, schema: StructType, *, exact: bool) -> pa.Table:
    """Return the rows with the columns of `schema`; `exact` refuses others, else they follow."""
    wanted = to_arrow(schema)
    unknown = [name for name in table.column_names if name not in wanted.names]
    if exact and unknown:
        raise UserError(
            f"the rows have a column {unknown[0]!r}, and the dataset has none of that name; its"
            f" columns are {', '.join(wanted.names)}"
        )
    columns = {}
    for field in wanted:
        if field.name in table.column_names:
            columns[field.name] = _cast(table[field.name].combine_chunks(), field)
        else:
            columns[field.name] = pa.nulls(table.num_rows, field.type)
    return pa.table({**columns, **{name: table[name] for name in unknown}})


def _cast(values: Any, field: pa.Field) -> Any:
    if values.type == field.type:
        return values
    try:
        return pa.array(values.to_pylist(), field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        pass
    try:
        return values.cast(field.type)
    except pa.ArrowException as error:
        raise UserError(
            f"the rows' column {field.name!r} cannot be {field.type}: {error}"
        ) from error


def _union(left: Any, right: Any) -> Any:
    relation = proto.Relation()
    relation.set_op.left_input.CopyFrom(left)
    relation.set_op.right_input.CopyFrom(right)
    relation.set_op.set_op_type = proto.SetOperation.SET_OP_TYPE_UNION
    relation.set_op.is_all = relation.set_op.by_name = True
    relation.set_op.allow_missing_columns = True
    return relation
