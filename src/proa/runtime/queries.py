"""Reading tables with SQL, for whoever asks: a command, a statement. Nothing can be written this way.

A query reads one version of each table: its files are looked up when it begins and put in the place of
the table's name, so what commits or tidies up meanwhile changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from proa.engine import Engine
from proa.errors import SourceLocation, UserError
from proa.graph import DatasetLeaf, FlowPlan
from proa.graph.plan import Locate, read_plan
from proa.graph.query_origin import QueryOrigin
from proa.lake import Table
from proa.pipelines.declaring_session import DeclaringSession, relation_of
from proa.pipelines.definitions import SqlQuery
from proa.pipelines.identifiers import Namespace
from proa.pipelines.sql.lexer import SqlText
from proa.runtime.declared import read_declared, table_urls
from proa.storage import NotFoundError, absolute
from proa.text import quote_identifier, suggestion

_HERE = SourceLocation("query", 1)


class QueryTables(Protocol):
    """The tables that a query may read."""

    def find(self, parts: tuple[str, ...]) -> str:
        """The table that a name in a query means. Raises UserError if there is none."""

    def table(self, name: str) -> Table:
        """The table that `find` has named."""


class StoredTables:
    """The tables in one storage location."""

    def __init__(
        self,
        storage: str,
        options: Mapping[str, str] | None = None,
        *,
        namespace: Namespace | None = None,
    ) -> None:
        self._storage = storage
        self._options = dict(options or {})
        self._namespace = namespace or Namespace()
        self._urls = table_urls(storage, self._options, read_declared(storage, self._options))
        self._tables: dict[str, Table] = {}

    def names(self) -> list[str]:
        """The names of the tables that can be read."""
        return list(self._urls)

    def find(self, parts: tuple[str, ...]) -> str:
        """The table that a name in a query means."""
        wanted = self._namespace.key(".".join(map(quote_identifier, parts)))
        for name in self._urls:
            if self._namespace.key(name) == wanted:
                return name
        raise missing_table(".".join(parts), self.names(), f"in {absolute(self._storage)!r}")

    def table(self, name: str) -> Table:
        if name not in self._tables:
            self._tables[name] = Table.at(self._urls[name], self._options)
        return self._tables[name]


class Queries:
    """SQL over tables."""

    def __init__(self, engine: Engine, tables: QueryTables) -> None:
        self._engine = engine
        self._tables = tables
        self._session = DeclaringSession()

    def arrow(self, sql: str, *, as_of_version: int | None = None) -> Any:
        """Compute the rows that a SELECT yields, as a `pyarrow.Table`. Otherwise like `stream`."""
        return self._engine.arrow(self.frame(sql, as_of_version=as_of_version))

    def stream(self, sql: str, *, as_of_version: int | None = None) -> tuple[Any, Iterator[Any]]:
        """Start a SELECT; the `pyarrow.Schema` of its rows, and its record batches as they come."""
        return self._engine.stream(self.frame(sql, as_of_version=as_of_version))

    def frame(self, sql: str, *, as_of_version: int | None = None) -> Any:
        """The DataFrame that a SELECT describes.

        `as_of_version` is the version at which every table named is read. Raises UserError for
        anything but a query, for unknown tables and versions, and for what the engine refuses.
        """
        query = SqlQuery(sql, _HERE, source=SqlText(sql, _HERE.file, has_columns=True))
        relation = relation_of(self._session.sql(sql))
        plan = read_plan(relation, _Names(self._tables), QueryOrigin(_HERE, query))
        bound = {}
        for leaf in plan.leaves:
            if not isinstance(leaf, DatasetLeaf) or leaf.streaming:
                raise UserError("a query reads tables, complete; name them without STREAM")
            bound[leaf.key] = self._relation(leaf.dataset, as_of_version)
        return self._engine.dataframe(plan.bind(bound))

    def _relation(self, name: str, version: int | None) -> Any:
        table = self._tables.table(name)
        newest = table.refresh()
        if newest is None:
            raise NotFoundError(f"there is no table at {table.url!r}")
        at = newest if version is None else version
        if not 0 <= at <= newest:
            raise UserError(f"{name!r} has the versions 0 to {newest}, and no version {at}")
        if "deletionVectors" in table.features():
            return self._engine.delta(table.url, at)
        try:
            files, schema = table.files(at), table.schema_at(at)
        except NotFoundError as error:
            raise UserError(f"{name!r} has no version {at} any more: {error}") from error
        table.check(files)
        return self._engine.parquet(files, schema) if files else self._engine.empty(schema)


def missing_table(spelled: str, names: list[str], where: str) -> UserError:
    """The refusal of a name that means no table; `names` are those that do."""
    return UserError(
        f"there is no table {spelled!r} {where}{suggestion(spelled, names)};"
        f" there are {', '.join(names) or 'none yet'}",
        condition="TABLE_OR_VIEW_NOT_FOUND",
    )


class _Names:
    """Resolves what a query reads."""

    def __init__(self, tables: QueryTables) -> None:
        self._tables = tables

    def dataset(
        self,
        parts: tuple[str, ...],
        *,
        streaming: bool,
        options: Mapping[str, str],
        at: Locate | None,  # noqa: ARG002 - the port's shape
    ) -> FlowPlan | DatasetLeaf | None:
        return DatasetLeaf("", self._tables.find(parts), streaming, dict(options))

    def name(self, parts: tuple[str, ...]) -> str | None:
        return self._tables.find(parts)
