"""Where plans leave for the embedded engine: each one passes the parity pass on its way."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
from pyspark.sql.connect import proto
from pyspark.sql.connect.client import DefaultChannelBuilder

from proa.engine.relations import dataframe

_REMEMBERED = 256
_LARGEST = 1 << 20
"""Plans of more bytes than this hold data, and are not remembered."""

_ARROW_UDF = 250
"""`PythonEvalType.SQL_SCALAR_ARROW_UDF`."""


class ParityChannel(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]  # grpc is untyped
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]  # grpc is untyped
    grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]  # grpc is untyped
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc]  # grpc is untyped
):
    """Puts the plan that gives Spark's answers in the place of the plan of each request.

    Flows, statements, notebooks and expectations all reach the engine this way, whoever made the
    plan. Raises UserError for what has no equal.
    """

    def __init__(self) -> None:
        self._parity: Any = None
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, Any] = OrderedDict()

    def watch(self, spark: Any, settings: Mapping[str, str]) -> None:
        """Begin: `spark` is the session whose requests come through here, with its settings."""
        from proa.engine.parity import Parity

        def schema(relation: Any) -> Any:
            with self._passing():
                return dataframe(relation, spark).schema

        def register(name: str, function: Callable[..., Any], type_: Any) -> None:
            with self._passing():
                spark.client.register_udf(function, type_, name, _ARROW_UDF, True)

        self._parity = Parity(schema, register, settings)

    @contextmanager
    def _passing(self) -> Iterator[None]:
        self._mine.passing = True
        try:
            yield
        finally:
            self._mine.passing = False

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details, self._equal(request))

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details, self._equal(request))

    def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(details, requests)

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(details, requests)

    def _equal(self, request: Any) -> Any:
        if self._parity is None or getattr(self._mine, "passing", False):
            return request
        relation = _relation(request)
        if relation is None:
            return request
        made = self._make(relation)
        copy = type(request)()
        copy.CopyFrom(request)
        target = _relation(copy)
        assert target is not None
        target.CopyFrom(made)
        return copy

    def _make(self, relation: Any) -> Any:
        key = relation.SerializeToString(deterministic=True)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        made, lasting = self._parity.relation(relation)
        if lasting and len(key) < _LARGEST:
            with self._lock:
                self._known[key] = made
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return made


def _relation(request: Any) -> Any | None:
    """The relation that a request asks about; None where it asks about none."""
    if isinstance(request, proto.ExecutePlanRequest):
        plan = request.plan
        if plan.WhichOneof("op_type") == "root":
            return plan.root
        if plan.WhichOneof("op_type") == "command":
            command = plan.command
            kind = command.WhichOneof("command_type")
            if kind == "create_dataframe_view":
                return command.create_dataframe_view.input
            if kind in {"write_operation", "write_operation_v2"}:
                return getattr(command, kind).input
        return None
    if isinstance(request, proto.AnalyzePlanRequest):
        kind = request.WhichOneof("analyze")
        found = getattr(request, kind) if kind else None
        if found is not None and "plan" in found.DESCRIPTOR.fields_by_name:
            return found.plan.root
    return None


def channel(address: str) -> tuple[Any, ParityChannel]:
    """What a session of the embedded engine at `address` is made of."""
    builder = DefaultChannelBuilder(address)
    parity = ParityChannel()
    builder.add_interceptor(parity)
    return builder, parity
