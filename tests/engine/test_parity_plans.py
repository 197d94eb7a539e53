"""DataFrame code gets Spark's answers too: the same corpus, as calls of `pyspark.sql.functions`.

The suite asks a part; with PROA_PARITY=whole (`make parity`) it asks all that have a function.
"""

import os
from collections import Counter
from decimal import Decimal

import parity_corpus
import parity_plans
import pytest
from pyspark.sql.connect import functions as F

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


# What Apache Spark 4.2.1 answers to a client that sends each decimal as one of 10 digits: the types
# of the literal, of 1 * it, of it + 0.25, and the two values.
DECIMALS = {
    "2.5": ("decimal(10,1)", "decimal(12,1)", "decimal(12,2)", "2.5", "2.75"),
    "0.001": ("decimal(10,3)", "decimal(12,3)", "decimal(12,3)", "0.001", "0.251"),
    "1E+3": ("decimal(10,0)", "decimal(12,0)", "decimal(13,2)", "1000", "1000.25"),
    "12345678901": (
        "decimal(11,0)",
        "decimal(13,0)",
        "decimal(14,2)",
        "12345678901",
        "12345678901.25",
    ),
}


def test_a_decimal_of_a_client_has_the_digits_that_it_has() -> None:
    found = {}
    with Engine.start() as engine:
        one = engine.spark.range(1)
        for text in DECIMALS:
            it = F.lit(Decimal(text))
            frame = one.select(it, F.lit(1) * it, it + F.lit(Decimal("0.25")))
            values = [str(int(v)) if v == int(v) else f"{v:f}" for v in frame.collect()[0][1:]]
            types = [field.dataType.simpleString() for field in frame.schema.fields]
            found[text] = (*types, *values)
    assert found == DECIMALS
