"""Reading a region's tables with SQL. Nothing can be written this way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proa.engine import Engine
from proa.errors import SourceLocation, UserError
from proa.graph import DatasetLeaf, FlowPlan
from proa.graph.plan import read
from proa.graph.query_origin import QueryOrigin
from proa.lake import Table
from proa.layout import Layout, dataset_of
from proa.pipelines.declaring_session import DeclaringSession, relation_of
from proa.pipelines.identifiers import Namespace
from proa.storage import NotFoundError, Store
from proa.text import suggestion

_ORIGIN = QueryOrigin(SourceLocation("query", 1), SourceLocation("query", 1))


class Queries:
    """SQL over the tables in one storage location."""

    def __init__(
        self,
        storage: str,
        engine: Engine,
        options: Mapping[str, str] | None = None,
        *,
        namespace: Namespace | None = None,
        paths: Mapping[str, str] | None = None,
    ) -> None:
        """`paths` are the tables that the pipeline has put at places of their own."""
        self._layout = Layout(storage)
        self._engine = engine
        self._options = dict(options or {})
        self._namespace = namespace or Namespace()
        self._paths = dict(paths or {})
        self._session = DeclaringSession()
        self._tables: dict[str, Table] = {}

    def tables(self) -> list[str]:
        """The names of the tables that can be read."""
        folders = Store.open(f"{self._layout.storage}/tables", self._options).folders()
        return sorted({*map(dataset_of, folders), *self._paths})

    def arrow(self, sql: str, *, as_of_version: int | None = None) -> Any:
        """Compute the rows that a SELECT yields, as a `pyarrow.Table`. Otherwise like `stream`."""
        return self._engine.arrow(self._frame(sql, as_of_version))

    def stream(self, sql: str, *, as_of_version: int | None = None) -> tuple[Any, Iterator[Any]]:
        """Start a SELECT; the `pyarrow.Schema` of its rows, and its record batches as they come.

        `as_of_version` is the version at which every table named is read. Raises UserError for
        anything but a query, for unknown tables and versions, and for what the engine refuses.
        """
        return self._engine.stream(self._frame(sql, as_of_version))

    def _frame(self, sql: str, as_of_version: int | None) -> Any:
        plan = read(relation_of(self._session.sql(sql)), _Names(self), _ORIGIN)
        bound = {}
        for leaf in plan.leaves:
            if not isinstance(leaf, DatasetLeaf) or leaf.streaming:
                raise UserError("a query reads tables, complete; name them without STREAM")
            bound[leaf.key] = self._relation(leaf.dataset, as_of_version)
        return self._engine.dataframe(plan.bind(bound))

    def find(self, parts: tuple[str, ...]) -> str:
        """The table that a name in a query means."""
        wanted = self._namespace.key(".".join(f"`{part}`" for part in parts))
        names = self.tables()
        for name in names:
            if self._namespace.key(name) == wanted:
                return name
        spelled = ".".join(parts)
        raise UserError(
            f"there is no table {spelled!r} in {self._layout.storage!r}"
            f"{suggestion(spelled, names)}; there are {', '.join(names) or 'none yet'}",
            condition="TABLE_OR_VIEW_NOT_FOUND",
        )

    def _relation(self, name: str, version: int | None) -> Any:
        table = self._tables.get(name)
        if table is None:
            url = self._paths.get(name, self._layout.table(name))
            table = self._tables[name] = Table.at(url, self._options)
        newest = table.refresh()
        if newest is None:
            raise NotFoundError(f"there is no table at {table.url!r}")
        at = newest if version is None else version
        if not 0 <= at <= newest:
            raise UserError(f"{name!r} has the versions 0 to {newest}, and no version {at}")
        try:
            files, schema = table.files(at), table.schema_at(at)
        except NotFoundError as error:
            raise UserError(f"{name!r} has no version {at} any more: {error}") from error
        table.check(files)
        return self._engine.parquet(files, schema) if files else self._engine.empty(schema)


class _Names:
    """Resolves what a query reads."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def dataset(
        self,
        parts: tuple[str, ...],
        *,
        streaming: bool,
        options: Mapping[str, str],
        line: int | None,  # noqa: ARG002 - the port's shape
    ) -> FlowPlan | DatasetLeaf | None:
        return DatasetLeaf("", self._queries.find(parts), streaming, dict(options))

    def name(self, parts: tuple[str, ...]) -> str | None:
        return self._queries.find(parts)
