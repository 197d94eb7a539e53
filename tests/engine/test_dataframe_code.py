"""DataFrame code gives Spark's answers: literals of Python, methods of tables, windows, functions of users.

Where an answer is null, nothing is asked: Spark's own client fails over it, or the engine answers where
Spark refuses (a frame for `row_number()`, say), or both depend on the order of rows.

The suite asks a part of the recorded lines; with PROA_PARITY=whole (`make parity`) it asks all of them.
"""

import gzip
import json
import os
from collections import Counter

import dataframe_code
import parity_corpus
import pytest

from proa.engine import Engine
from proa.engine.parity.spark_types import type_of

pytestmark = pytest.mark.slow

STEP = 1 if os.environ.get("PROA_PARITY") == "whole" else 10
MOST_WITHOUT = 0.05


def recorded() -> list[tuple[str, list[dict]]]:
    return json.loads(gzip.decompress(dataframe_code.ANSWERS.read_bytes()))


def kind_of(ours: dict, sparks: dict) -> str:
    if "error" in ours or "error" in sparks:
        if "error" in ours:
            return "equal" if "error" in sparks else "none"
        return "lenient"
    rows, theirs = ours["rows"], sparks["rows"]
    if not parity_corpus.alike(rows, theirs, near=parity_corpus.NEAR) and not parity_corpus.alike(
        sorted(rows, key=repr), sorted(theirs, key=repr), near=parity_corpus.NEAR
    ):
        return "value"
    types = [[parity_corpus.typed(f["type"]) for f in answer["types"]] for answer in (ours, sparks)]
    return "equal" if types[0] == types[1] else "type"


def test_no_answer_to_a_line_of_dataframe_code_differs_from_sparks() -> None:
    lines = recorded()
    assert len(lines) > 3_000
    kinds: Counter[str] = Counter()
    wrong = []
    with Engine.start() as engine, engine.translating():
        tables = (dataframe_code.tame(engine.spark), parity_corpus.edge(engine.spark))
        for line, answers in lines[::STEP]:
            for table, sparks in zip(tables, answers, strict=True):
                if sparks is not None:
                    ours = dataframe_code.answer(line, table, engine.spark)
                    kind = kind_of(ours, sparks)
                    kinds[kind] += 1
                    if kind in {"value", "type", "lenient"}:
                        wrong.append((kind, line, ours, sparks))
    assert wrong == []
    assert kinds["none"] <= MOST_WITHOUT * kinds.total()


# What a function returns that does not fit its type is an error, as in Spark 4.2: no other number.
TOO_LARGE = {
    "tinyint": ["300", "200.0"],
    "smallint": ["40000"],
    "int": ["2**31", "-2**31 - 1", "float('nan')", "float('inf')"],
    "bigint": ["2**63", "1e19"],
    "array<tinyint>": ["[300]"],
    "struct<a:tinyint>": ["(300,)"],
}
FITS = {"tinyint": ["127", "1.5"], "int": ["2**31 - 1", "True and 5"], "bigint": ["2**63 - 1"]}


def returned(engine: Engine, type_: str, text: str) -> object:
    from pyspark.sql.connect import functions as F

    scope: dict = {}
    exec(f"def given(x):\n    return {text}\n", scope)
    frame = engine.spark.range(1).select(
        F.udf(scope["given"], type_of(type_), useArrow=True)("id").alias("r")
    )
    return frame.toArrow().to_pylist()[0]["r"]


def test_what_a_users_function_returns_fits_its_type_or_fails() -> None:
    with Engine.start() as engine:
        for type_, texts in TOO_LARGE.items():
            for text in texts:
                with pytest.raises(
                    Exception,
                    match=r"(?i)too large|overflow|out of|safe|truncated|not in range|convert",
                ):
                    returned(engine, type_, text)
        for type_, texts in FITS.items():
            for text in texts:
                assert returned(engine, type_, text) == int(eval(text))
