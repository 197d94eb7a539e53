"""Expectations become columns of the batch's plan: true where the row keeps the rule.

Apart because it builds columns, and a batch runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.engine import Engine
from proa.errors import PipelineError, UserError
from proa.graph.sql_text import for_engine
from proa.lake import Flag
from proa.pipelines.definitions import Expectation

_PREFIX = "__proa_expectation_"


def flags_of(expectations: Sequence[Expectation]) -> tuple[Flag, ...]:
    """The columns that stand for the expectations, in their order."""
    return tuple(
        Flag(f"{_PREFIX}{number}", expectation.name, expectation.violation)
        for number, expectation in enumerate(expectations)
    )


def flag_rows(frame: Any, expectations: Sequence[Expectation]) -> Any:
    """`frame` with one boolean column per expectation; NULL counts as broken, so it is false."""
    if not expectations:
        return frame
    from pyspark.sql.connect import functions as F  # noqa: N812 - as Spark's users know it

    columns = [
        F.coalesce(_condition(expectation, F), F.lit(False)).alias(flag.column)
        for flag, expectation in zip(flags_of(expectations), expectations, strict=True)
    ]
    return frame.select("*", *columns)


def check(engine: Engine, frame: Any, expectations: Sequence[Expectation], dataset: str) -> None:
    """Ask the engine about each rule by itself; PipelineError names the first that is wrong.

    Called once the engine has refused the whole batch: then it is worth knowing who is at fault.
    """
    for expectation in expectations:
        try:
            with engine.translating():
                _ = flag_rows(frame, [expectation]).schema
        except UserError as error:
            raise PipelineError(
                f"the expectation {expectation.name!r} of {dataset!r} cannot be computed: {error}",
                condition="INVALID_EXPECTATION",
                location=expectation.location,
            ) from error


def _condition(expectation: Expectation, functions: Any) -> Any:
    if isinstance(expectation.condition, str):
        return functions.expr(f"({for_engine(expectation.condition)}\n)")
    return expectation.condition
