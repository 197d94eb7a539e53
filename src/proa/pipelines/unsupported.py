"""What Databricks or Apache Spark can do and this version cannot: refused by name, with a remedy."""

from __future__ import annotations

from proa.errors import PipelineError, SourceLocation
from proa.pipelines.sql.lexer import SqlText

CONDITION = "UNSUPPORTED_FEATURE"

_QUARANTINE = "state the rule as an expectation (CONSTRAINT name EXPECT (...) ON VIOLATION ...)"
_COMPUTE = "compute the column in the query"
_TABLE = (
    "write a streaming table or a materialized view; a table that flows write to is CREATE TABLE"
    " name FLOW ..., or CREATE TABLE name and CREATE FLOW"
)
_RIGHTS = "restrict the rows or columns in a table of their own, and share that one"

REMEDIES = {
    "bitemporal AUTO CDC": "keep one history (SCD type 2) and the other time as a column",
    "sinks in SQL (CREATE SINK)": "declare the sink in a Python file (create_sink), and write to it"
    " here (CREATE FLOW ... AS INSERT INTO)",
    "REPLACE WHERE flows": "name the columns whose rows are replaced (REPLACE USING ... SEQUENCE BY),"
    " or compute the rows in a materialized view",
    "tables with a query (CREATE TABLE ... AS)": _TABLE,
    "global temporary views": "write a temporary view, which the whole pipeline sees, or a materialized view"
    " for readers elsewhere",
    "event hooks": "read the event log (`proa events --json`)",
    "row filters": _RIGHTS,
    "column masks": _RIGHTS,
    "identity columns": "make a key of the row's own values (such as xxhash64 of its key's columns), which"
    " is the same in every region; a number would follow the order in which a region met the rows",
    "generated columns of a table that changes are merged into": "compute the column in the query that"
    " the changes come from",
    "default values of columns": _COMPUTE + ", with coalesce(...)",
    "CHECK constraints": _QUARANTINE,
    "UNIQUE constraints": "remove duplicates in a materialized view",
    "schedules in SQL": "schedule `proa run`, or a job of the region's server",
    "functions in SQL files": "write a Python function, or the expression itself",
    "IMPORT CHECKPOINT": "start the flow anew; its files are read exactly once from there on",
}
"""Features by name, and what to do instead."""

WITHOUT_EFFECT = {
    "cluster_by_auto": "files are laid out as they are written; nothing chooses columns",
    "format": "every table is a Delta table",
    "refresh_policy": "a materialized view is refreshed from what changed where its query allows",
    "USING": "every table is a Delta table",
    "DEFAULT COLLATION": "strings are compared byte by byte",
    "REFRESH POLICY": "a materialized view is refreshed from what changed where its query allows",
    "CLUSTER BY AUTO": "files are laid out as they are written; nothing chooses columns",
    "PRIMARY KEY": "keys tell readers something; nothing enforces them",
    "FOREIGN KEY": "keys tell readers something; nothing enforces them",
}
"""Parameters and clauses that are taken and change nothing, and why."""


def unsupported_error(feature: str, location: SourceLocation | None) -> PipelineError:
    """The error that refuses `feature`, a key of REMEDIES; to be raised by the caller."""
    return PipelineError(
        f"{feature}: this version of Proa cannot do that yet; {REMEDIES[feature]}",
        condition=CONDITION,
        location=location,
    )


def unsupported_sql_error(feature: str, source: SqlText, offset: int) -> PipelineError:
    """The same for a place in SQL text."""
    return unsupported_error(feature, source.place(offset))
