"""The embedded engine gives Spark's answers, or none.

The suite asks a quarter of the corpus; with PROA_PARITY=whole (`make parity`) it asks all of it.
"""

import os
from collections import Counter
from collections.abc import Iterator

import parity_corpus
import pytest

from proa.engine import Engine

pytestmark = pytest.mark.slow

SHARDS = 16
STEP = 1 if os.environ.get("PROA_PARITY") == "whole" else 4
MOST_REFUSED = 0.05
"""Share of the corpus that may have no answer on the embedded engine."""


@pytest.fixture(scope="module")
def judge() -> Iterator[parity_corpus.Judge]:
    with Engine.start() as engine:
        parity_corpus.edge(engine.spark)
        yield parity_corpus.Judge(parity_corpus.sql_of(engine))


@pytest.fixture(scope="module")
def corpus() -> dict:
    return parity_corpus.corpus()


@pytest.fixture(scope="module")
def kinds() -> Counter[str]:
    return Counter()


@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_answer_differs_from_sparks(judge, corpus, kinds, shard) -> None:
    part = {
        kind: corpus[kind][shard * STEP :: SHARDS * STEP]
        for kind in ("expressions", "aggregates", "queries")
    }
    outcomes = list(judge.everything(part))
    kinds.update(outcome.kind for outcome in outcomes)
    wrong = [o for o in outcomes if o.kind in {"value", "type", "lenient"}]
    assert wrong == []


def test_few_expressions_have_no_answer(kinds) -> None:
    without = kinds["refused"] + kinds["fails"]
    assert kinds.total() > 12_000 / STEP
    assert without <= MOST_REFUSED * kinds.total()
