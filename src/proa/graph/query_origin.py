"""Where a flow's query is written, so that each line of it can be named in a message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from proa.errors import SourceLocation
from proa.graph.python_code import line_in_source, place_in_source
from proa.pipelines.definitions import Flow, SqlQuery


@dataclass(frozen=True)
class QueryOrigin:
    """Where a query is written."""

    location: SourceLocation
    """Where it is declared."""
    sql: SqlQuery | None = None
    """The whole query, when it is one SQL text."""
    function: Callable[..., Any] | None = None
    """The Python function that makes it."""

    @classmethod
    def of(cls, flow: Flow) -> QueryOrigin:
        """The origin of a flow's query."""
        if isinstance(flow.query, SqlQuery):
            return cls(flow.location, flow.query)
        return cls(flow.location, flow.sql, flow.query)

    def place(self, text: str, offset: int, near: int = 0) -> SourceLocation:
        """Where a character of a SQL text stands: in the SQL file, or in the function that holds the
        text, not before its line `near`. The query's own place if it cannot be told.
        """
        line = text.count("\n", 0, offset)
        if self.sql is not None:
            if text == self.sql.text:
                return self.sql.place(offset)
            at = self.sql.location
            return SourceLocation(at.file, at.line + line)
        begin = text.rfind("\n", 0, offset) + 1
        written = text[begin:].partition("\n")[0]
        found = place_in_source(self.function, written.strip(), near) if self.function else None
        if found is None:
            return self.location
        indent = len(written) - len(written.lstrip())
        column = found[1] + max(offset - begin - indent, 0)
        return SourceLocation(self.location.file, found[0], column)

    def in_own_file(self, at: SourceLocation) -> SourceLocation:
        """A place in the query's own file under the name that its user knows."""
        own = at.file.endswith(self.location.file)
        return replace(at, file=self.location.file) if own else at

    def of_words(self, words: str) -> SourceLocation | None:
        """The first line of the query's function that holds the words. Returns None if none does."""
        if self.function is None:
            return None
        line = line_in_source(self.function, words)
        return None if line is None else SourceLocation(self.location.file, line)
