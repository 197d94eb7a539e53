"""DataFrame code gets Spark's answers too: the same corpus, as calls of `pyspark.sql.functions`.

The suite asks a part; with PROA_PARITY=whole (`make parity`) it asks all that have a function.
"""

import os
from collections import Counter

import parity_corpus
import parity_plans
import pytest

from proa.engine import Engine

pytestmark = pytest.mark.slow

STEP = 1 if os.environ.get("PROA_PARITY") == "whole" else 10
MOST_REFUSED = 0.10


def test_no_answer_to_dataframe_code_differs_from_sparks() -> None:
    entries = parity_corpus.corpus()["expressions"]
    with Engine.start() as engine, engine.translating():
        frame = parity_corpus.edge(engine.spark)
        pairs = list(parity_plans.planned_entries(entries))
        assert len(pairs) > 3_000
        outcomes = list(parity_plans.outcomes(frame, pairs[::STEP]))
    assert [o for o in outcomes if o.kind in {"value", "type", "lenient"}] == []
    kinds = Counter(outcome.kind for outcome in outcomes)
    assert kinds["refused"] + kinds["fails"] <= MOST_REFUSED * kinds.total()
