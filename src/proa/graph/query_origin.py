"""Where a flow's query is written, so that each line of it can be named in a message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proa.errors import SourceLocation
from proa.graph.python_code import line_in_source
from proa.pipelines.definitions import Flow, SqlQuery


@dataclass(frozen=True)
class QueryOrigin:
    """Where a query is written."""

    location: SourceLocation
    """Where it is declared."""
    text_start: SourceLocation | None = None
    """Where its SQL text begins, when the whole query is one."""
    function: Callable[..., Any] | None = None
    """The Python function that makes it."""

    @classmethod
    def of(cls, flow: Flow) -> QueryOrigin:
        """The origin of a flow's query."""
        if isinstance(flow.query, SqlQuery):
            return cls(flow.location, flow.query.location)
        return cls(flow.location, function=flow.query)

    def of_line(self, text: str, line: int) -> SourceLocation:
        """Where a line of a SQL text stands, counted from 1: in the SQL file, or in the function
        that holds the text. The query's own place if it cannot be told.
        """
        if self.text_start is not None:
            return SourceLocation(self.text_start.file, self.text_start.line + line - 1)
        lines = text.splitlines()
        written = lines[line - 1].strip() if line <= len(lines) else ""
        return self.of_words(written) or self.location

    def of_words(self, words: str) -> SourceLocation | None:
        """The first line of the query's function that holds the words. Returns None if none does."""
        if self.function is None:
            return None
        line = line_in_source(self.function, words)
        return None if line is None else SourceLocation(self.location.file, line)
