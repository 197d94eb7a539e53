"""Rules about rows: `expect`, `expect_or_drop`, `expect_or_fail` and their plurals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.errors import PipelineError, SourceLocation
from proa.pipelines.definitions import Expectation
from proa.pipelines.sql.lexer import SqlText
from proa.pipelines.sql.parser import Parser
from proa.text import syntax_reason
from proa.violations import Violation

CONDITION = "INVALID_EXPECTATION"


def check_expectation(
    name: Any,
    condition: Any,
    violation: Violation,
    location: SourceLocation | None,
    source: SqlText | None = None,
) -> Expectation:
    """The expectation, when name and condition are of the right kind; else PipelineError.

    `source` is a condition that is part of a SQL file.
    """
    if not isinstance(name, str) or not name.strip():
        raise PipelineError(
            f"an expectation's name must be a string that says something, not {name!r}",
            condition=CONDITION,
            location=location,
        )
    if not (isinstance(condition, str) or _is_column(condition)):
        raise PipelineError(
            f"the condition of the expectation {name!r} must be a SQL expression (a string) or a"
            f" Column, not {type(condition).__name__}",
            condition=CONDITION,
            location=location,
        )
    if isinstance(condition, str):
        _check_expression(name, condition, location, source)
    return Expectation(name, condition, violation, location, source)


def check_all(
    rules: Any, violation: Violation, location: SourceLocation | None
) -> tuple[Expectation, ...]:
    """Expectations from a mapping of name to condition."""
    if not isinstance(rules, Mapping):
        raise PipelineError(
            "expectations must be a dict of name to condition, not"
            f" {type(rules).__name__}: {{'valid id': 'id IS NOT NULL'}}",
            condition=CONDITION,
            location=location,
        )
    return tuple(
        check_expectation(name, condition, violation, location) for name, condition in rules.items()
    )


def _is_column(value: object) -> bool:
    from pyspark.sql import Column

    return isinstance(value, Column)


def _check_expression(
    name: str, condition: str, location: SourceLocation | None, source: SqlText | None
) -> None:
    mistake = _mistake_in(condition)
    if mistake is None:
        return
    reason, offset = mistake
    raise PipelineError(
        f"the condition of the expectation {name!r} is not a SQL expression: {reason}:"
        f" {condition!r}",
        condition=CONDITION,
        location=location if source is None else source.place(offset),
    )


def _mistake_in(condition: str) -> tuple[str, int] | None:
    """What is wrong with a SQL expression, and where in it; None when it is one."""
    from sqlglot import errors, exp, parse_one

    parser = Parser(SqlText(condition, ""))
    if parser.at_end:
        return "it is empty", 0
    try:
        parser.skip_rest("the condition")
        query = parse_one(f"SELECT 1 WHERE (\n{condition}\n)", read="databricks")
    except errors.ParseError as error:
        told = error.errors[0]
        lines = condition.splitlines(keepends=True)
        before = sum(map(len, lines[: (told["line"] or 2) - 2]))
        offset = before + (told["col"] or 1) - len(told["highlight"] or "")
        return syntax_reason(str(told["description"])), min(offset, len(condition) - 1)
    except (errors.SqlglotError, PipelineError) as error:
        return str(error.args[0]), 0
    where = query.args["where"].this
    inner = where.this if isinstance(where, exp.Paren) else where
    if isinstance(inner, exp.Tuple | exp.Alias | exp.Query):
        return "it must be one condition", 0
    return None
