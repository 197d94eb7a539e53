"""Expectations of temporary views: part of the view's query, for a view is never written.

Rows are dropped, or the update fails, wherever the view is read. Violations are not counted: the
event log counts what tables saw.

Apart because it alone says what an expectation means for a view.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from proa.pipelines.declaring_session import DeclaringSession
from proa.pipelines.definitions import Dataset, Expectation, Flow, SqlQuery
from proa.violations import Violation


def enforce_expectations(
    view: Dataset, flow: Flow, session: DeclaringSession
) -> Callable[[], Any] | SqlQuery:
    """The view's query, which keeps to the view's expectations."""
    rules = tuple(rule for rule in view.expectations if rule.violation is not Violation.WARN)
    if not rules:
        return flow.query
    if isinstance(flow.query, SqlQuery):
        return functools.partial(
            _kept_rows, view, rules, functools.partial(session.sql, flow.query.text)
        )
    query = functools.partial(_kept_rows, view, rules, flow.query)
    return functools.update_wrapper(query, flow.query)  # its source is still the user's


def _kept_rows(view: Dataset, rules: Sequence[Expectation], query: Callable[[], Any]) -> Any:
    frame = query()
    for rule in rules:
        frame = frame.where(_keep_condition(view.name, rule))
    return frame


def _keep_condition(view: str, rule: Expectation) -> Any:
    """The condition for keeping a row; that of a rule that fails never says no, but raises."""
    from pyspark.sql.connect.functions import coalesce, expr, lit, raise_error, when

    is_true = coalesce(
        expr(rule.condition) if isinstance(rule.condition, str) else rule.condition, lit(False)
    )
    if rule.violation is Violation.DROP:
        return is_true
    message = f"a row of the view {view!r} breaks the expectation {rule.name!r}"
    return when(is_true, lit(True)).otherwise(raise_error(lit(message)).cast("boolean"))
