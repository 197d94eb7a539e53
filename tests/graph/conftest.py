"""An embedded engine, and pipelines declared by hand."""

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from proa.engine import Engine
from proa.errors import SourceLocation
from proa.graph import Graph
from proa.graph.build import build
from proa.pipelines.declaring_session import DeclaringSession
from proa.pipelines.definitions import (
    Dataset,
    DatasetKind,
    Declarations,
    Flow,
    SqlQuery,
)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with Engine.start() as found:
        yield found


class Pipeline:
    """Declares datasets and flows with a query given as a function of `spark` or as SQL."""

    def __init__(self, **configuration: str) -> None:
        self.session = DeclaringSession(configuration)
        self.datasets: list[Dataset] = []
        self.flows: list[Flow] = []

    def dataset(self, name: str, kind: DatasetKind, query: Any = None, **fields: Any) -> None:
        """A dataset and, with a query, its flow."""
        location = _caller()
        self.datasets.append(Dataset(name, kind, location, **fields))
        if query is not None:
            self.flows.append(Flow(name, name, self.query(query), location, implicit=True))

    def streaming_table(self, name: str, query: Any = None, **fields: Any) -> None:
        self.dataset(name, DatasetKind.STREAMING_TABLE, query, **fields)

    def materialized_view(self, name: str, query: Any = None, **fields: Any) -> None:
        self.dataset(name, DatasetKind.MATERIALIZED_VIEW, query, **fields)

    def table(self, name: str, query: Any = None, **fields: Any) -> None:
        self.dataset(name, DatasetKind.TABLE, query, **fields)

    def view(self, name: str, query: Any = None, **fields: Any) -> None:
        self.dataset(name, DatasetKind.TEMPORARY_VIEW, query, **fields)

    def flow(self, name: str, target: str, query: Any, **fields: Any) -> None:
        self.flows.append(Flow(name, target, self.query(query), _caller(), **fields))

    def query(self, query: Any) -> Callable[[], Any] | SqlQuery:
        if isinstance(query, str):
            return SqlQuery(query, SourceLocation("pipeline.sql", 1))

        @functools.wraps(query)
        def call() -> Any:
            return query(self.session)

        return call

    def declarations(self) -> Declarations:
        return Declarations(tuple(self.datasets), tuple(self.flows), session=self.session)

    def build(self, **arguments: Any) -> Graph:
        return build(self.declarations(), **arguments)


def _caller() -> SourceLocation:
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return SourceLocation(frame.f_code.co_filename, frame.f_lineno)


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


@pytest.fixture(scope="session")
def new_pipeline() -> type[Pipeline]:
    return Pipeline
