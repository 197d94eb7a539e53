"""Where declarations are collected while a pipeline's files are loaded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyspark.pipelines.flow import AutoCdcFlow
from pyspark.pipelines.flow import Flow as ApacheFlow
from pyspark.pipelines.graph_element_registry import (
    GraphElementRegistry,
    get_active_graph_element_registry,
)
from pyspark.pipelines.output import (
    MaterializedView,
    Output,
    Sink,
    StreamingTable,
    Table,
    TemporaryView,
)
from pyspark.pipelines.source_code_location import SourceCodeLocation

from proa.errors import PipelineError, SourceLocation
from proa.pipelines.dataset_checks import check_dataset, check_flow, check_unique
from proa.pipelines.declaring_session import DeclaringSession
from proa.pipelines.definitions import (
    Dataset,
    DatasetKind,
    Declarations,
    Expectation,
    Flow,
    SnapshotCdc,
    SqlQuery,
)
from proa.pipelines.environment import Environment, caller, install_pipelines_module
from proa.pipelines.identifiers import Namespace, plain_name
from proa.pipelines.session_settings import check_flow_settings
from proa.pipelines.spec import seen_from
from proa.pipelines.sql import declarations
from proa.pipelines.sql.lexer import SqlText
from proa.violations import Violation

DUPLICATE = "PIPELINE_DUPLICATE_IDENTIFIERS"
OUTSIDE = "GRAPH_ELEMENT_DEFINED_OUTSIDE_OF_DECLARATIVE_PIPELINE"


class Registry(GraphElementRegistry):  # type: ignore[misc] # pyspark is untyped
    """Collects what one pipeline declares, whether through Apache's names or Databricks'."""

    def __init__(self, environment: Environment, namespace: Namespace) -> None:
        self._environment = environment
        self._root = environment.root
        self._configuration = dict(environment.session.configuration)
        self._namespace = namespace
        self._datasets: dict[str, Dataset] = {}
        self._flows: dict[str, Flow] = {}
        self._unused: dict[object, PipelineError | Callable[[], None]] = {}

    def declarations(self) -> Declarations:
        """All that was declared, in order. Raises PipelineError when that makes no pipeline."""
        for unused in list(self._unused.values()):
            if isinstance(unused, PipelineError):
                raise unused
            unused()
        datasets = tuple(self._datasets.values())
        if all(dataset.kind is DatasetKind.TEMPORARY_VIEW for dataset in datasets):
            raise PipelineError(
                "the pipeline declares no table and no materialized view; check the globs under"
                " 'libraries' and that the files hold declarations (@dp.table, CREATE STREAMING"
                " TABLE, ...)",
                condition="RUN_EMPTY_PIPELINE",
            )
        return Declarations(
            datasets,
            tuple(self._final(flow) for flow in self._flows.values()),
            self._configuration,
            session=self._environment.session,
        )

    def _final(self, flow: Flow) -> Flow:
        target = self._datasets.get(self._namespace.key(flow.target))
        if target is None or target.kind is not DatasetKind.TEMPORARY_VIEW:
            return flow
        sql = flow.query if isinstance(flow.query, SqlQuery) else None
        query = enforce_expectations(target, flow, self._environment.session)
        return replace(flow, query=query, sql=sql)

    def awaiting_use(self, error: PipelineError) -> Callable[[], None]:
        """Raise `error` in the end, unless the function returned is called before."""
        return self._unless_used(error)

    def otherwise(self, declare: Callable[[], None]) -> Callable[[], None]:
        """Call `declare` in the end, unless the function returned is called before."""
        return self._unless_used(declare)

    def _unless_used(self, then: PipelineError | Callable[[], None]) -> Callable[[], None]:
        token = object()
        self._unused[token] = then

        def mark_used() -> None:
            self._unused.pop(token, None)

        return mark_used

    def add_dataset(self, dataset: Dataset) -> None:
        """Declare a dataset; PipelineError when it is wrong or its name is taken."""
        check_dataset(dataset)
        dataset = replace(dataset, name=plain_name(dataset.name))
        key = self._namespace.key(dataset.name)
        if (other := self._datasets.get(key)) is not None:
            raise PipelineError(
                f"the dataset {dataset.name!r} is declared twice, first at {other.location};"
                " rename or remove one of them",
                condition=f"{DUPLICATE}.OUTPUT",
                location=dataset.location,
            )
        if dataset.sink is not None and dataset.sink.function is not None:
            bound = self._environment.bind_sink(dataset.sink.function)
            dataset = replace(dataset, sink=replace(dataset.sink, function=bound))
        self._datasets[key] = dataset

    def add_flow(self, flow: Flow) -> None:
        """Declare a flow; PipelineError when its name is wrong or taken."""
        check_flow(flow)
        check_flow_settings(flow.spark_conf, self._configuration, flow.location)
        flow = replace(flow, name=plain_name(flow.name), target=plain_name(flow.target))
        key = self._namespace.key(flow.name)
        if (other := self._flows.get(key)) is not None:
            raise PipelineError(
                f"the flow {flow.name!r} is declared twice, first at {other.location};"
                " give this one another name",
                condition=f"{DUPLICATE}.FLOW",
                location=flow.location,
            )
        if not isinstance(flow.query, SqlQuery):
            flow = replace(flow, query=self._environment.bind(flow.query))
        if isinstance(flow.cdc, SnapshotCdc) and flow.cdc.next_snapshot is not None:
            bound = self._environment.bind(flow.cdc.next_snapshot)
            flow = replace(flow, cdc=replace(flow.cdc, next_snapshot=bound))
        self._flows[key] = flow

    def add_expectations(self, dataset: str, expectations: tuple[Expectation, ...]) -> None:
        """Put expectations before those that the dataset has: decorators apply from the inside."""
        key = self._namespace.key(dataset)
        known = self._datasets[key]
        together = (*expectations, *known.expectations)
        check_unique(dataset, together)
        self._datasets[key] = replace(known, expectations=together)

    def register_output(self, output: Output) -> None:
        if isinstance(output, Sink):
            from proa.pipelines.sink_declarations import sink_dataset

            location = self._location(output.source_code_location)
            self.add_dataset(
                sink_dataset(output.name, output.format, dict(output.options), location)
            )
            return
        if isinstance(output, TemporaryView):
            kind = DatasetKind.TEMPORARY_VIEW
        elif isinstance(output, MaterializedView):
            kind = DatasetKind.MATERIALIZED_VIEW
        else:
            assert isinstance(output, StreamingTable)
            kind = DatasetKind.STREAMING_TABLE
        dataset = Dataset(
            output.name, kind, self._location(output.source_code_location), comment=output.comment
        )
        if isinstance(output, Table):
            dataset = replace(
                dataset,
                schema=output.schema,
                partition_cols=tuple(output.partition_cols or ()),
                cluster_by=tuple(output.cluster_by or ()),
                properties=dict(output.table_properties),
            )
        self.add_dataset(dataset)

    def register_flow(self, flow: ApacheFlow) -> None:
        location = self._location(flow.source_code_location)
        key = self._namespace.key(flow.target)
        target = self._datasets.get(key)
        implicit = flow.name == flow.target and target is not None and target.location == location
        if implicit and target is not None and target.kind is DatasetKind.STREAMING_TABLE:
            # Apache's `table` and its query come together; the graph decides what it is.
            self._datasets[key] = replace(target, kind=DatasetKind.TABLE)
        self.add_flow(
            Flow(
                flow.name,
                flow.target,
                flow.func,
                location,
                spark_conf=dict(flow.spark_conf),
                implicit=implicit,
            )
        )

    def register_auto_cdc_flow(self, flow: AutoCdcFlow) -> None:
        from proa.pipelines.change_flows import create_auto_cdc_flow

        # Apache's later versions have more fields than this one's; those that are there count.
        given = {name: value for name, value in vars(flow).items() if value is not None}
        del given["source_code_location"]
        create_auto_cdc_flow(**given)

    def register_sql(self, sql_text: str, file_path: Path, cell_line: int | None = None) -> None:
        """Declare what a SQL text declares: a file, or the cell of a notebook that begins on a line."""
        # The lines of a cell have signs of the notebook before them.
        source = SqlText(
            sql_text,
            seen_from(self._root, file_path),
            cell_line or 1,
            has_columns=cell_line is None,
        )
        found = declarations.declare(source, self._configuration)
        for dataset in found.datasets:
            self.add_dataset(dataset)
        for flow in found.flows:
            self.add_flow(flow)

    def caller(self) -> SourceLocation:
        """Where the user's code stands that is declaring something now."""
        return caller() or SourceLocation(str(self._root), 1)

    def _location(self, location: SourceCodeLocation) -> SourceLocation:
        return SourceLocation(seen_from(self._root, location.filename), location.line_number or 1)


class LocalRegistry(Registry):
    """Takes every declaration and keeps none."""

    def __init__(self) -> None:
        pass

    def awaiting_use(self, error: PipelineError) -> Callable[[], None]:
        del error
        return lambda: None

    def otherwise(self, declare: Callable[[], None]) -> Callable[[], None]:
        del declare
        return lambda: None

    def add_dataset(self, dataset: Dataset) -> None:
        pass

    def add_flow(self, flow: Flow) -> None:
        pass

    def add_expectations(self, dataset: str, expectations: tuple[Expectation, ...]) -> None:
        pass

    def caller(self) -> SourceLocation:
        return caller() or SourceLocation("", 1)


_local: list[LocalRegistry] = []


def enable_local_execution() -> None:
    """Let a pipeline's files be imported outside a pipeline, by their own tests: from now on
    decorators check their arguments, declare nothing and leave functions callable, whether they
    come from `dlt` or from `pyspark.pipelines`.
    """
    from proa.pipelines import dlt

    install_pipelines_module(dlt)
    _local[:] = [LocalRegistry()]


def active_registry() -> Registry:
    """The registry of the pipeline that is being loaded; PipelineError outside of one."""
    from pyspark.errors import PySparkException

    try:
        registry = get_active_graph_element_registry()
    except PySparkException:
        registry = None
    if isinstance(registry, Registry):
        return registry
    if _local:
        return _local[0]
    raise PipelineError(
        "datasets and flows can only be declared while a pipeline is loaded; run the project with"
        " `proa run` or `proa dry-run`, or call dlt.enable_local_execution() in its tests",
        condition=OUTSIDE,
        location=caller(),
    )


def enforce_expectations(
    view: Dataset, flow: Flow, session: DeclaringSession
) -> Callable[[], Any] | SqlQuery:
    """Make a temporary view's expectations part of its query, for a view is never written.

    Rows are dropped, or the update fails, wherever the view is read. Violations are not counted: the
    event log counts what tables saw.
    """
    rules = tuple(rule for rule in view.expectations if rule.violation is not Violation.WARN)
    if not rules:
        return flow.query
    if isinstance(flow.query, SqlQuery):
        return functools.partial(
            _kept_rows, view, rules, functools.partial(session.sql, flow.query.text)
        )
    query = functools.partial(_kept_rows, view, rules, flow.query)
    return functools.update_wrapper(query, flow.query)  # its source is still the user's


def _kept_rows(view: Dataset, rules: Sequence[Expectation], query: Callable[[], Any]) -> Any:
    frame = query()
    for rule in rules:
        frame = frame.where(_keep_condition(view.name, rule))
    return frame


def _keep_condition(view: str, rule: Expectation) -> Any:
    """The condition for keeping a row; that of a rule that fails never says no, but raises."""
    from pyspark.sql.connect.functions import coalesce, expr, lit, raise_error, when

    is_true = coalesce(
        expr(rule.condition) if isinstance(rule.condition, str) else rule.condition, lit(False)
    )
    if rule.violation is Violation.DROP:
        return is_true
    message = f"a row of the view {view!r} breaks the expectation {rule.name!r}"
    return when(is_true, lit(True)).otherwise(raise_error(lit(message)).cast("boolean"))
