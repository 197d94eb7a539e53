"""Mistakes are told all at once, each once, in the order of their places."""

from __future__ import annotations

import pytest

from proa.errors import PipelineError, SeveralMistakesError, SourceLocation
from proa.graph.mistakes import Mistakes


def mistake(text: str, line: int | None = None) -> PipelineError:
    return PipelineError(text, location=None if line is None else SourceLocation("a.sql", line))


def test_no_mistake_raises_nothing_and_one_raises_itself():
    mistakes = Mistakes()
    mistakes.check()
    one = mistake("x", 1)
    with mistakes.collecting():
        raise one
    with pytest.raises(PipelineError) as caught:
        mistakes.check()
    assert caught.value is one


def test_several_are_one_error_whose_condition_and_place_are_the_first_ones():
    mistakes = Mistakes()
    for error in (mistake("later", 7), mistake("nowhere"), mistake("first", 2)):
        mistakes.add(error)
    with pytest.raises(SeveralMistakesError) as caught:
        mistakes.check()
    assert [error.args[0] for error in caught.value.errors] == ["nowhere", "first", "later"]
    assert str(caught.value).count("\n") == 2


def test_a_mistake_that_is_told_twice_keeps_its_place():
    mistakes = Mistakes()
    for error in (mistake("x"), mistake("x", 3), mistake("x"), mistake("x", 3), mistake("x", 4)):
        mistakes.add(error)
    assert [error.location.line for error in mistakes.errors] == [3, 4]


def test_a_mistake_does_not_hide_those_of_other_datasets_nor_repeat_itself_below(pipeline):
    pipeline.materialized_view("a", "SELECT * FROM missing")
    pipeline.view("v", "SELECT * FROM a")
    pipeline.materialized_view("below", "SELECT * FROM v")
    pipeline.materialized_view("state", "SELECT * FROM STREAM good")
    pipeline.materialized_view("good", "SELECT 1 AS x")
    mistakes = Mistakes()
    graph = pipeline.build(mistakes=mistakes)
    assert [error.condition for error in mistakes.errors] == [
        "TABLE_OR_VIEW_NOT_FOUND",
        "UNSUPPORTED_STREAMING_SOURCE",
    ]
    assert "good" in graph.datasets
    assert not {"a", "v", "below"} & graph.datasets.keys()
