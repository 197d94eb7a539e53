"""Rules about rows: `expect`, `expect_or_drop`, `expect_or_fail` and their plurals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.errors import PipelineError, SourceLocation
from proa.pipelines.definitions import Expectation, Violation

CONDITION = "INVALID_EXPECTATION"


def check_expectation(
    name: Any, condition: Any, violation: Violation, location: SourceLocation | None
) -> Expectation:
    """The expectation, when name and condition are of the right kind; else PipelineError."""
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
        _check_expression(name, condition, location)
    return Expectation(name, condition, violation, location)


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


def check_unique(dataset: str, expectations: tuple[Expectation, ...]) -> None:
    """PipelineError when two expectations of one dataset have the same name."""
    seen: set[str] = set()
    for expectation in expectations:
        if expectation.name in seen:
            raise PipelineError(
                f"the dataset {dataset!r} has two expectations named {expectation.name!r};"
                " give each its own name: they are counted by name",
                condition=CONDITION,
                location=expectation.location,
            )
        seen.add(expectation.name)


def _is_column(value: object) -> bool:
    from pyspark.sql import Column

    return isinstance(value, Column)


def _check_expression(name: str, condition: str, location: SourceLocation | None) -> None:
    from sqlglot import errors, parse_one

    try:
        if condition.strip():
            parse_one(condition, read="databricks")
            return
        reason = "it is empty"
    except errors.SqlglotError as error:
        details = getattr(error, "errors", None)
        reason = details[0]["description"].rstrip(". ") if details else str(error)
    raise PipelineError(
        f"the condition of the expectation {name!r} is not a SQL expression: {reason.lower()}:"
        f" {condition!r}",
        condition=CONDITION,
        location=location,
    )
