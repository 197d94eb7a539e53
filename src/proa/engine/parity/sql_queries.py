"""Reads a query's SQL into scopes: what each SELECT reads, and the expressions in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from proa.engine.parity.sql_nodes import Node
from proa.engine.parity.sql_reader import SqlReader
from proa.engine.parity.sql_tokens import UnreadableSqlError

_SET = ("UNION", "INTERSECT", "EXCEPT", "MINUS")
_JOINS = ("INNER", "CROSS", "LEFT", "RIGHT", "FULL", "NATURAL", "SEMI", "ANTI", "JOIN", "OUTER")


@dataclass(eq=False, slots=True)
class FromItem:
    """What FROM reads: a table by name, a query, a call of a table function, rows, or a view of one.

    `lateral` sources see the columns of those before them.
    """

    alias: str = ""
    columns: tuple[str, ...] = ()
    table: tuple[str, ...] = ()
    query: Query | None = None
    call: Node | None = None
    rows: list[Node] = field(default_factory=list)
    conditions: list[Node] = field(default_factory=list)
    lateral: bool = False
    using: tuple[str, ...] = ()
    nullable: bool = False
    hidden: bool = False
    view: bool = False


@dataclass(eq=False, slots=True)
class Select:
    """One SELECT, and the clauses that belong to it."""

    sources: list[FromItem] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)
    clauses: list[Node] = field(default_factory=list)
    grouping: list[Node] = field(default_factory=list)
    having: Node | None = None
    """The condition over groups, which is one of the clauses too."""
    distinct: bool = False
    sets: bool = False
    """Whether the grouping is by sets: ROLLUP, CUBE, GROUPING SETS."""


@dataclass(eq=False, slots=True)
class Query:
    """CTEs, the branches of set operations in their order, and the keys of the whole's ORDER BY."""

    ctes: list[tuple[str, tuple[str, ...], Query]] = field(default_factory=list)
    branches: list[Select | Query] = field(default_factory=list)
    keys: list[Node] = field(default_factory=list)
    recursive: bool = False
    distinct: bool = False
    """Whether rows that are equal count once: any set operation but UNION ALL."""


class QueryReader(SqlReader):
    """Reads whole queries; inside of expressions too."""

    def whole_query(self) -> Query:
        """The query that the text is. Raises UnreadableSqlError for anything else."""
        query = self._query()
        self.takes(";")
        if self.token.kind != "end":
            self.fail()
        return query

    def query(self) -> Node:
        start = self.token.start
        return self.end_node(Node("query", value=self._query()), start)

    def _query(self) -> Query:
        query = Query()
        if self.takes("WITH"):
            query.recursive = self.takes("RECURSIVE")
            while True:
                name = self.identifier()
                columns: tuple[str, ...] = ()
                if self.sees("("):
                    columns = self._names()
                self.takes("AS")
                self.needs("(")
                query.ctes.append((name, columns, self._query()))
                self.needs(")")
                if not self.takes(","):
                    break
        query.branches.append(self._branch())
        while word := self.takes_one(*_SET):
            whole = self.takes_one("ALL", "DISTINCT") == "ALL"
            if word == "INTERSECT" and whole:
                raise UnreadableSqlError("INTERSECT ALL")  # the engine counts the left side's rows
            query.distinct |= not (word == "UNION" and whole)
            query.branches.append(self._branch())
        while self._ends(query):
            pass
        return query

    def _ends(self, query: Query) -> bool:
        if self.takes("ORDER", "BY") or self.takes("SORT", "BY"):
            query.keys += self.sort_keys()
        elif self.takes_one("LIMIT", "OFFSET"):
            if not self.takes("ALL"):
                self.expression()
        elif self.takes("CLUSTER", "BY") or self.takes("DISTRIBUTE", "BY"):
            query.keys.append(self.expression())
            while self.takes(","):
                query.keys.append(self.expression())
        elif self.takes("WINDOW"):
            while True:
                self.identifier()
                self.needs("AS")
                query.keys += self.frame()
                if not self.takes(","):
                    break
        else:
            return False
        return True

    def _names(self) -> tuple[str, ...]:
        self.needs("(")
        names = [self.identifier()]
        while self.takes(","):
            names.append(self.identifier())
        self.needs(")")
        return tuple(names)

    def _branch(self) -> Select | Query:
        if self.takes("("):
            query = self._query()
            self.needs(")")
            return query
        if self.sees("VALUES"):
            return Select([self._values()], [Node("star")])
        if self.takes("TABLE"):
            return Select([FromItem(table=self._table_name())], [Node("star")])
        if self.takes("FROM"):
            select = Select()
            self._from(select)
            self.needs("SELECT")
            self._items(select)
        else:
            self.needs("SELECT")
            select = Select()
            self._items(select)
            if self.takes("FROM"):
                self._from(select)
        if self.takes("WHERE"):
            select.clauses.append(self.expression())
        if self.takes("GROUP", "BY"):
            self._grouping(select)
        if self.takes("HAVING"):
            select.having = self.expression()
            select.clauses.append(select.having)
        while self.takes("WINDOW"):
            while True:
                self.identifier()
                self.needs("AS")
                select.clauses += self.frame()
                if not self.takes(","):
                    break
        if self.takes("QUALIFY"):
            select.clauses.append(self.expression())
        return select

    def _items(self, select: Select) -> None:
        select.distinct = self.takes("DISTINCT")
        self.takes("ALL")
        while True:
            select.items.append(self.aliased_expression())
            if select.items[-1].kind == "star" and (
                self.sees("EXCEPT", "(") or self.sees("REPLACE")
            ):
                raise UnreadableSqlError("* EXCEPT")
            if not self.takes(","):
                return

    def _grouping(self, select: Select) -> None:
        if self.sees("ALL") and self.ahead().word in {"", "HAVING", "ORDER", "LIMIT"}:
            self.next()
            return
        while True:
            if self.takes("GROUPING", "SETS") or self.takes_one("ROLLUP", "CUBE"):
                select.sets = True
                self.needs("(")
                self._sets(select)
            elif self.sees("(", ")"):
                self.at += 2
            else:
                select.grouping.append(self.expression())
            if self.takes("WITH"):
                select.sets = True
                self.next()
            if not self.takes(","):
                return

    def _sets(self, select: Select) -> None:
        while not self.takes(")"):
            if self.takes("("):
                self._sets(select)
            elif self.takes_one("ROLLUP", "CUBE") or self.takes("GROUPING", "SETS"):
                pass
            elif not self.takes(","):
                select.grouping.append(self.expression())

    # -- FROM -------------------------------------------------------------------------------------

    def _from(self, select: Select) -> None:
        while True:
            self._relation(select)
            if not self.takes(","):
                break
        while self.takes("LATERAL", "VIEW"):
            select.sources.append(self._view())

    def _relation(self, select: Select) -> None:
        self._primary_relation(select)
        while self.token.word in _JOINS:
            kinds = set()
            while self.token.word in _JOINS:
                kinds.add(self.next().word)
            lateral = self.takes("LATERAL")
            before = len(select.sources)
            self._primary_relation(select, lateral=lateral)
            joined = select.sources[before:]
            for source in joined:
                source.hidden = bool(kinds & {"SEMI", "ANTI"})
            if self.takes("ON"):
                joined[-1].conditions.append(self.expression())
            elif self.takes("USING"):
                joined[-1].using = self._names()
            elif "NATURAL" in kinds:
                joined[-1].using = ("*",)

    def _primary_relation(self, select: Select, *, lateral: bool = False) -> None:
        lateral = self.takes("LATERAL") or lateral
        if self.sees("VALUES"):
            select.sources.append(self._values())
            return
        source = FromItem(lateral=lateral)
        if self.takes("("):
            if self.sees("SELECT") or self.sees("WITH") or self.sees("VALUES") or self.sees("FROM"):
                source.query = self._query()
                self.needs(")")
            else:
                back = self.at
                try:
                    source.query = self._query()
                    self.needs(")")
                except UnreadableSqlError:
                    self.at = back
                    before = len(select.sources)
                    self._relation(select)
                    while self.takes(","):
                        self._relation(select)
                    self.needs(")")
                    inner = FromItem(
                        query=Query(branches=[Select(select.sources[before:], [Node("star")])])
                    )
                    if self._alias(inner):
                        select.sources[before:] = [inner]
                    return
        elif self.token.word == "STREAM" and self.ahead().text == "(":
            raise UnreadableSqlError("STREAM()")
        else:
            start = self.token.start
            source.table = self._table_name()
            if self.takes("("):
                source.call = self.end_node(
                    Node("call", source.table[-1].lower(), self.list_to(")")), start
                )
                source.table = ()
        self._take_sample()
        if self.sees("VERSION") or self.sees("TIMESTAMP"):
            raise UnreadableSqlError(self.token.text)
        self._alias(source)
        self._take_sample()
        if self.sees("PIVOT") or self.sees("UNPIVOT"):
            raise UnreadableSqlError(self.token.text)
        select.sources.append(source)

    def _take_sample(self) -> None:
        """Take TABLESAMPLE (...)."""
        if not self.takes("TABLESAMPLE"):
            return
        self.needs("(")
        while not self.takes(")"):
            if self.next().kind == "end":
                self.fail()
        if self.takes("REPEATABLE"):
            self.needs("(")
            self.next()
            self.needs(")")

    def _table_name(self) -> tuple[str, ...]:
        parts = [self.identifier()]
        while self.takes("."):
            parts.append(self.identifier())
        return tuple(parts)

    def _values(self) -> FromItem:
        self.needs("VALUES")
        source = FromItem()
        while True:
            source.rows.append(self.expression())
            if not (self.sees(",") and self.takes(",")):
                break
        self._alias(source)
        return source

    def _alias(self, source: FromItem) -> bool:
        from proa.engine.parity.sql_reader import _ENDS

        if (
            self.takes("AS")
            or self.token.kind == "quoted"
            or (self.token.kind == "word" and self.token.word not in _ENDS)
        ):
            source.alias = self.identifier()
            if self.sees("("):
                source.columns = self._names()
            return True
        return False

    def _view(self) -> FromItem:
        source = FromItem(lateral=True, view=True)
        source.nullable = self.takes("OUTER")
        start = self.token.start
        name = self.identifier().lower()
        self.needs("(")
        source.call = self.end_node(Node("call", name, self.list_to(")")), start)
        if self.token.kind == "quoted" or (
            self.token.word and self.token.word not in {"AS", "LATERAL"}
        ):
            source.alias = self.identifier()
        if self.takes("AS"):
            names = [self.identifier()]
            while self.takes(","):
                names.append(self.identifier())
            source.columns = tuple(names)
        return source
