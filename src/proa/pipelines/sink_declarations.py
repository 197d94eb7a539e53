"""Sinks: places outside a pipeline that its flows write to: a Delta table, topics of Kafka, a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from proa.errors import PipelineError, SourceLocation
from proa.pipelines import arguments
from proa.pipelines.arguments import check_arguments
from proa.pipelines.definitions import Dataset, DatasetKind, SinkPlace
from proa.pipelines.kafka_options import INVALID, kafka_options
from proa.pipelines.registry import active_registry
from proa.pipelines.unsupported import CONDITION as UNSUPPORTED
from proa.text import suggestion

DELTA, FOREACH_BATCH, KAFKA = "delta", "foreachBatch", "kafka"
_OPTIONS = ("path", "tableName", "mergeSchema")
Function = Callable[[Any, int], Any]


@check_arguments
def create_sink(name: str, format: str, options: dict[str, str] | None = None) -> None:  # noqa: A002 - Databricks' name
    """Declare a sink: a Delta table at `path` or named by `tableName`, or topics of Kafka."""
    registry = active_registry()
    location = registry.caller()
    arguments.required_name("name", name)
    kind = arguments.required_name("format", format)
    registry.add_dataset(sink_dataset(name, kind, arguments.mapping("options", options), location))


def sink_dataset(
    name: str, kind: str, options: Mapping[str, str], location: SourceLocation
) -> Dataset:
    """Return the sink that a declaration means. PipelineError for what cannot be written to."""
    given = {option.lower(): value for option, value in options.items()}
    if kind.lower() == KAFKA:
        kafka_options(name, given, location)
        place = SinkPlace(KAFKA, given)
        return Dataset(name, DatasetKind.SINK, location, sink=place)
    if kind.lower() != DELTA:
        raise PipelineError(
            f"sinks of format {kind!r}: this version of Proa writes to Delta tables, to Kafka and to"
            " functions; write the batches in a function of your own, as in @foreach_batch_sink"
            f" def {name}(df, batch_id): df.write.format({kind!r})...",
            condition=UNSUPPORTED,
            location=location,
        )
    known = {option.lower(): option for option in _OPTIONS}
    for option in options:
        if option.lower() not in known:
            raise PipelineError(
                f"the sink {name!r} has no option {option!r}{suggestion(option, _OPTIONS)}; a Delta"
                f" sink takes {', '.join(_OPTIONS)}",
                condition=INVALID,
                location=location,
            )
    if ("path" in given) == ("tablename" in given):
        raise PipelineError(
            f"the sink {name!r} needs one of the options 'path' and 'tableName', and"
            f" {'both are' if 'path' in given else 'none is'} given",
            condition=INVALID,
            location=location,
        )
    place = SinkPlace(DELTA, given)
    return Dataset(name, DatasetKind.SINK, location, path=given.get("path"), sink=place)


@check_arguments
def foreach_batch_sink(function: Function | None = None, name: str | None = None) -> Any:
    """Declare a function that gets the batches of flows: a DataFrame and the batch's number.

    It may get a batch again, with the same number and the same rows, after a crash.
    """
    registry = active_registry()
    location = registry.caller()
    arguments.text("name", name)
    if function is not None:
        return _declare(function, name, location)
    mark_used = registry.awaiting_use(
        PipelineError(
            "@foreach_batch_sink(...) decorates nothing and so declares nothing; put it above a"
            " function def f(df, batch_id)",
            condition="DECORATOR_WITHOUT_FUNCTION",
            location=location,
        )
    )

    def declare(function: Function) -> Function:
        mark_used()
        return _declare(function, name, location)

    return declare


def _declare(function: Function, name: str | None, location: SourceLocation) -> Function:
    if not callable(function):
        raise PipelineError(
            f"@foreach_batch_sink decorates a function, not {function!r}; pass options by keyword:"
            " @foreach_batch_sink(name='...')",
            condition="DECORATOR_ARGUMENT_NOT_CALLABLE",
            location=location,
        )
    try:
        inspect.signature(function).bind(None, 0)
    except TypeError as error:
        raise PipelineError(
            "the function of a foreach_batch_sink is called with a DataFrame and a batch's number:"
            f" def f(df, batch_id); this one cannot be: {error}",
            condition="INVALID_SINK_FUNCTION",
            location=location,
        ) from error
    place = SinkPlace(FOREACH_BATCH, function=function)
    named = name or str(getattr(function, "__name__", ""))
    active_registry().add_dataset(Dataset(named, DatasetKind.SINK, location, sink=place))
    return function
