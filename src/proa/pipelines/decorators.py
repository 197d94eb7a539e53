"""The decorators that declare datasets, flows and expectations."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, cast

from proa.errors import PipelineError, SourceLocation
from proa.pipelines import arguments, change_flows
from proa.pipelines.arguments import check_arguments, names
from proa.pipelines.definitions import Dataset, DatasetKind, Expectation, Flow, Replacement
from proa.pipelines.expectations import CONDITION as INVALID_EXPECTATION
from proa.pipelines.expectations import check_all, check_expectation
from proa.pipelines.registry import active_registry
from proa.pipelines.sql.clauses import parse_columns
from proa.pipelines.sql.lexer import SqlText
from proa.pipelines.sql.parser import Parser
from proa.pipelines.unsupported import unsupported_error
from proa.violations import Violation

_SAYS_MORE_THAN_TYPES = re.compile(
    r"\b(?:CONSTRAINT|PRIMARY|FOREIGN|REFERENCES|UNIQUE|CHECK|GENERATED|DEFAULT|MASK)\b",
    re.IGNORECASE,
)
Query = Callable[[], Any]
"""A function that returns a DataFrame."""


class Decorated:
    """A query function with what its decorators said of it; calling it calls the function."""

    def __init__(
        self,
        function: Query,
        *,
        expectations: tuple[Expectation, ...] = (),
        dataset: str | None = None,
        flow: str | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.expectations = expectations
        """Those that stand below the dataset's decorator, from top to bottom."""
        self.dataset = dataset
        """The dataset that the function has become, if it has."""
        self.flow = flow
        """The append flow that the function has become, if it has."""

    def __call__(self) -> Any:
        return self.function()


@check_arguments
def table(  # noqa: PLR0913, PLR0917 - the names are Databricks'
    query_function: Query | None = None,
    name: str | None = None,
    comment: str | None = None,
    spark_conf: dict[str, str] | None = None,
    table_properties: dict[str, str] | None = None,
    partition_cols: list[str] | None = None,
    path: str | None = None,
    schema: Any = None,
    temporary: bool = False,  # noqa: FBT001, FBT002 - the order is Databricks'
    cluster_by: list[str] | None = None,
    row_filter: str | None = None,
    *,
    private: bool = False,
    cluster_by_auto: bool = False,  # noqa: ARG001 - a hint without effect
    format: str | None = None,  # noqa: A002, ARG001 - Apache's name; every table is Delta
    replace_using: list[str] | None = None,
    sequence_by: Any = None,
) -> Any:
    """Declare a table and its query.

    It becomes a streaming table over a streaming query, a materialized view over a batch query.
    """
    _refuse_given("row filters", row_filter)
    return _declare(
        "table",
        DatasetKind.TABLE,
        query_function,
        name,
        replacement=change_flows.replace_using(replace_using, sequence_by, _here()),
        private=arguments.flag("temporary", temporary) or arguments.flag("private", private),
        **_stored_fields(
            comment, spark_conf, table_properties, partition_cols, path, schema, cluster_by
        ),
    )


def create_table(*args: Any, **options: Any) -> Any:
    """`table`, as it was called at first. As Databricks' newer function of this name, it decorates
    nothing and declares a table that flows write to.
    """
    registry = active_registry()
    if args and isinstance(args[0], str):
        create_streaming_table(*args, **options)
        return None
    if args:
        return table(*args, **options)
    location = registry.caller()
    mark_used = registry.otherwise(lambda: registry.add_dataset(_managed_table(options, location)))

    def decorate(function: Any) -> Decorated:
        mark_used()
        return cast("Decorated", table(function, **options))

    return decorate


def _managed_table(options: dict[str, Any], location: SourceLocation) -> Dataset:
    """The table of a `create_table(name=...)` that no function stood below."""
    name = arguments.required_name("name", options.get("name"))
    for option in options:
        if option not in {"name", "cluster_by_auto", "format", *_STORED}:
            raise PipelineError(
                f"create_table() has no parameter {option!r}, unless it decorates a query function;"
                f" it takes name, {', '.join(_STORED)}",
                condition="UNEXPECTED_ARGUMENT",
                location=location,
            )
    fields = _stored_fields(*map(options.get, _STORED))
    return Dataset(name, DatasetKind.STREAMING_TABLE, location, **fields)


@check_arguments
def materialized_view(  # noqa: PLR0913, PLR0917 - the names are Databricks'
    query_function: Query | None = None,
    name: str | None = None,
    comment: str | None = None,
    spark_conf: dict[str, str] | None = None,
    table_properties: dict[str, str] | None = None,
    partition_cols: list[str] | None = None,
    path: str | None = None,
    schema: Any = None,
    temporary: bool = False,  # noqa: FBT001, FBT002 - the order is Databricks'
    cluster_by: list[str] | None = None,
    row_filter: str | None = None,
    *,
    private: bool = False,
    cluster_by_auto: bool = False,  # noqa: ARG001 - a hint without effect
    format: str | None = None,  # noqa: A002, ARG001 - Apache's name; every table is Delta
    refresh_policy: str | None = None,  # noqa: ARG001 - a hint without effect
) -> Any:
    """Declare a materialized view: a table that always holds its query's result."""
    _refuse_given("row filters", row_filter)
    return _declare(
        "materialized_view",
        DatasetKind.MATERIALIZED_VIEW,
        query_function,
        name,
        private=arguments.flag("temporary", temporary) or arguments.flag("private", private),
        **_stored_fields(
            comment, spark_conf, table_properties, partition_cols, path, schema, cluster_by
        ),
    )


@check_arguments
def temporary_view(
    query_function: Query | None = None,
    name: str | None = None,
    comment: str | None = None,
    spark_conf: dict[str, str] | None = None,
) -> Any:
    """Declare a view that only this pipeline sees; nothing is stored."""
    return _declare(
        "temporary_view",
        DatasetKind.TEMPORARY_VIEW,
        query_function,
        name,
        comment=arguments.text("comment", comment),
        spark_conf=arguments.mapping("spark_conf", spark_conf),
        private=True,
    )


@check_arguments
def create_streaming_table(  # noqa: PLR0913, PLR0917 - the names are Databricks'
    name: str,
    comment: str | None = None,
    spark_conf: dict[str, str] | None = None,
    table_properties: dict[str, str] | None = None,
    partition_cols: list[str] | None = None,
    path: str | None = None,
    schema: Any = None,
    expect_all: dict[str, Any] | None = None,
    expect_all_or_drop: dict[str, Any] | None = None,
    expect_all_or_fail: dict[str, Any] | None = None,
    cluster_by: list[str] | None = None,
    row_filter: str | None = None,
    *,
    cluster_by_auto: bool = False,  # noqa: ARG001 - a hint without effect
    format: str | None = None,  # noqa: A002, ARG001 - Apache's name; every table is Delta
) -> None:
    """Declare a streaming table that append flows write to."""
    registry = active_registry()
    location = registry.caller()
    _refuse_given("row filters", row_filter)
    rules = (
        *check_all(expect_all or {}, Violation.WARN, location),
        *check_all(expect_all_or_drop or {}, Violation.DROP, location),
        *check_all(expect_all_or_fail or {}, Violation.FAIL, location),
    )
    registry.add_dataset(
        Dataset(
            arguments.required_name("name", name),
            DatasetKind.STREAMING_TABLE,
            location,
            expectations=rules,
            **_stored_fields(
                comment, spark_conf, table_properties, partition_cols, path, schema, cluster_by
            ),
        )
    )


@check_arguments
def append_flow(  # noqa: PLR0913 - the names are Databricks'
    target: str,
    name: str | None = None,
    comment: str | None = None,
    spark_conf: dict[str, str] | None = None,
    once: bool = False,  # noqa: FBT001, FBT002 - the order is Databricks'
    *,
    depends_on: str | list[str] | None = None,
    import_checkpoint: str | None = None,
) -> Callable[[Query], Decorated]:
    """Declare a flow that appends its query's rows to `target`, a streaming table or a sink.

    With `once`, the query is a batch query that runs a single time, and again on a full refresh.
    """
    _refuse_given("IMPORT CHECKPOINT", import_checkpoint)
    return _declare_flow(
        "append_flow",
        target,
        name,
        once=arguments.flag("once", once),
        comment=arguments.text("comment", comment),
        spark_conf=arguments.mapping("spark_conf", spark_conf),
        depends_on=_flow_names(depends_on),
    )


@check_arguments
def update_flow(  # noqa: PLR0913, PLR0917 - the names are Databricks'
    target: str,
    name: str | None = None,
    spark_conf: dict[str, str] | None = None,
    comment: str | None = None,
    depends_on: str | list[str] | None = None,
    import_checkpoint: str | None = None,
) -> Callable[[Query], Decorated]:
    """Declare a flow that writes its query's rows to the sink `target`, each batch once."""
    _refuse_given("IMPORT CHECKPOINT", import_checkpoint)
    return _declare_flow(
        "update_flow",
        target,
        name,
        comment=arguments.text("comment", comment),
        spark_conf=arguments.mapping("spark_conf", spark_conf),
        depends_on=_flow_names(depends_on),
        to_sink=True,
    )


@check_arguments
def expect(name: str, inv: Any) -> Callable[[Query], Decorated]:
    """Count the rows for which `inv` is not true, and keep them."""
    return _expecting((check_expectation(name, inv, Violation.WARN, _here()),))


@check_arguments
def expect_or_drop(name: str, inv: Any) -> Callable[[Query], Decorated]:
    """Count the rows for which `inv` is not true, and drop them."""
    return _expecting((check_expectation(name, inv, Violation.DROP, _here()),))


@check_arguments
def expect_or_fail(name: str, inv: Any) -> Callable[[Query], Decorated]:
    """Fail the update when there is a row for which `inv` is not true."""
    return _expecting((check_expectation(name, inv, Violation.FAIL, _here()),))


@check_arguments
def expect_all(expectations: dict[str, Any]) -> Callable[[Query], Decorated]:
    """`expect` for each name and condition."""
    return _expecting(check_all(expectations, Violation.WARN, _here()))


@check_arguments
def expect_all_or_drop(expectations: dict[str, Any]) -> Callable[[Query], Decorated]:
    """`expect_or_drop` for each name and condition."""
    return _expecting(check_all(expectations, Violation.DROP, _here()))


@check_arguments
def expect_all_or_fail(expectations: dict[str, Any]) -> Callable[[Query], Decorated]:
    """`expect_or_fail` for each name and condition."""
    return _expecting(check_all(expectations, Violation.FAIL, _here()))


def _stored_fields(  # noqa: PLR0913, PLR0917 - they are always given together
    comment: Any,
    spark_conf: Any,
    table_properties: Any,
    partition_cols: Any,
    path: Any,
    schema: Any,
    cluster_by: Any,
) -> dict[str, Any]:
    """The fields of a Dataset that is stored, from what users pass."""
    return {
        "comment": arguments.text("comment", comment),
        "spark_conf": arguments.mapping("spark_conf", spark_conf),
        "properties": arguments.mapping("table_properties", table_properties),
        "partition_cols": arguments.names("partition_cols", partition_cols),
        "path": arguments.text("path", path),
        **_columns(arguments.schema(schema)),
        "cluster_by": arguments.names("cluster_by", cluster_by),
    }


def _columns(schema: Any) -> dict[str, Any]:
    """The fields of a Dataset that a schema tells: its columns, and the key that its DDL names."""
    if not isinstance(schema, str) or not _SAYS_MORE_THAN_TYPES.search(schema):
        return {"schema": schema}
    location = _here()
    source = SqlText(f"({schema})", location.file, location.line)
    try:
        parser = Parser(source)
        columns = parse_columns(parser)
        if columns.expectations:
            raise parser.failure(
                "an expectation stands in a decorator (@dp.expect), not in a schema"
            )
        if not parser.at_end:
            raise parser.failure("expected the end of the schema")
    except PipelineError as error:
        # The schema may stand anywhere above.
        error.location = location
        raise
    return {
        "schema": columns.schema,
        "primary_key": columns.primary_key,
        "generated": columns.generated,
    }


def _declare(
    decorator: str,
    kind: DatasetKind,
    query_function: Any,
    name: Any,
    *,
    replacement: Replacement | None = None,
    **facts: Any,
) -> Any:
    """Declare a dataset with its query; a decorator, when the query is yet to come."""
    registry = active_registry()
    location = registry.caller()
    arguments.text("name", name)
    mark_used = registry.awaiting_use(_without_function(decorator, location))

    def declare(function: Any) -> Decorated:
        mark_used()
        query = _as_decorated(function, decorator, location)
        dataset = Dataset(
            name or _name(query, location),
            kind,
            location,
            expectations=query.expectations,
            **facts,
        )
        registry.add_dataset(dataset)
        registry.add_flow(
            Flow(
                dataset.name,
                dataset.name,
                query.function,
                location,
                comment=dataset.comment,
                spark_conf=dataset.spark_conf,
                implicit=True,
                cdc=replacement,
            )
        )
        return Decorated(query.function, dataset=dataset.name)

    return declare if query_function is None else declare(query_function)


@check_arguments
def replace_flow(  # noqa: PLR0913, PLR0917 - the names are Databricks'
    target: str,
    replace_using: list[str] | None = None,
    sequence_by: Any = None,
    name: str | None = None,
    comment: str | None = None,
    spark_conf: dict[str, str] | None = None,
    *,
    depends_on: str | list[str] | None = None,
) -> Callable[[Query], Decorated]:
    """Declare a flow whose rows replace those of `target` with the same values in `replace_using`,
    unless these have a higher `sequence_by`.
    """
    cdc = change_flows.replace_using(replace_using or [], sequence_by, _here())
    return _declare_flow(
        "replace_flow",
        target,
        name,
        comment=arguments.text("comment", comment),
        spark_conf=arguments.mapping("spark_conf", spark_conf),
        depends_on=_flow_names(depends_on),
        cdc=cdc,
    )


def _declare_flow(
    decorator: str, target: str, name: str | None, **facts: Any
) -> Callable[[Query], Decorated]:
    """Return the decorator that declares a flow into `target`."""
    registry = active_registry()
    location = registry.caller()
    arguments.required_name("target", target)
    arguments.text("name", name)
    mark_used = registry.awaiting_use(_without_function(decorator, location))

    def declare(function: Query) -> Decorated:
        mark_used()
        query = _as_decorated(function, decorator, location)
        if query.expectations:
            raise _expectation_on_flow(target, location)
        registry.add_flow(
            Flow(name or _name(query, location), target, query.function, location, **facts)
        )
        return Decorated(query.function, flow=target)

    return declare


def _flow_names(depends_on: Any) -> tuple[str, ...]:
    """The names in `depends_on`, which may be a single one."""
    return (depends_on,) if isinstance(depends_on, str) else names("depends_on", depends_on)


def _expecting(expectations: tuple[Expectation, ...]) -> Callable[[Query], Decorated]:
    location = _here()
    mark_used = active_registry().awaiting_use(_without_function("expect", location))

    def attach(function: Any) -> Decorated:
        mark_used()
        query = _as_decorated(function, "expect", location)
        if query.flow is not None:
            raise _expectation_on_flow(query.flow, location)
        if query.dataset is not None:
            active_registry().add_expectations(query.dataset, expectations)
            return query
        return Decorated(query.function, expectations=(*expectations, *query.expectations))

    return attach


def _as_decorated(function: Any, decorator: str, location: SourceLocation) -> Decorated:
    if isinstance(function, Decorated):
        return function
    if not callable(function):
        raise PipelineError(
            f"@{decorator} decorates a function, not {function!r}; pass options by keyword:"
            f" @{decorator}(name='...')",
            condition="DECORATOR_ARGUMENT_NOT_CALLABLE",
            location=location,
        )
    required = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    ]
    if required:
        raise PipelineError(
            f"the query function must be callable without arguments, but needs {required[0]!r};"
            f" give it a default: def f({required[0]}={required[0]})",
            condition="INVALID_QUERY_FUNCTION",
            location=location,
        )
    return Decorated(function)


def _without_function(decorator: str, location: SourceLocation) -> PipelineError:
    return PipelineError(
        f"@{decorator}(...) decorates nothing and so declares nothing; put it above a query"
        " function, or call what it returns with one",
        condition="DECORATOR_WITHOUT_FUNCTION",
        location=location,
    )


def _name(query: Decorated, location: SourceLocation) -> str:
    name = str(getattr(query.function, "__name__", ""))
    if not name.isidentifier():
        raise PipelineError(
            "the query function has no name; pass one: name='...'",
            condition="INVALID_QUERY_FUNCTION",
            location=location,
        )
    return name


def _here() -> SourceLocation:
    return active_registry().caller()


def _expectation_on_flow(target: str, location: SourceLocation) -> PipelineError:
    return PipelineError(
        "an append flow has no expectations of its own; put them on its table:"
        f" create_streaming_table({target!r}, expect_all={{...}})",
        condition=INVALID_EXPECTATION,
        location=location,
    )


def _refuse_given(feature: str, *values: Any) -> None:
    if any(value is not None for value in values):
        raise unsupported_error(feature, _here())


_STORED = (
    "comment",
    "spark_conf",
    "table_properties",
    "partition_cols",
    "path",
    "schema",
    "cluster_by",
)
"""What `_stored_fields` takes, in its order."""
