"""A row's answer does not depend on where among the rows it stands, nor on how many there are.

The engine computes in batches of 8,192 rows: what looks at the wrong rows of a later batch is right in
a small table.
"""

import os
from collections.abc import Iterator

import parity_corpus
import pyarrow as pa
import pytest

from proa.engine import Engine

pytestmark = pytest.mark.slow

COPIES = 500
STEP = 1 if os.environ.get("PROA_PARITY") == "whole" else 8
TOGETHER = 12
ALWAYS = ["array_compact(as)", "CAST(ms AS STRING)", "array_repeat(i, 2)", "to_json(mi)", "ai[1]"]
MANY_ROWS = ("explode", "inline", "stack(", "json_tuple")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.start() as engine:
        rows = pa.ipc.open_file(parity_corpus.EDGE).read_all()
        many = pa.concat_tables([rows] * COPIES).combine_chunks()
        copies = [copy for copy in range(COPIES) for _ in range(len(rows))]
        parity_corpus.edge(engine.spark, many.append_column("copy", pa.array(copies)))
        yield engine


def answers(engine: Engine, expressions: list[str]) -> Iterator[tuple[str, pa.Array]]:
    """Those that the engine has: (an expression, its values by copy and row)."""
    columns = ", ".join(f"{text} AS c{k}" for k, text in enumerate(expressions))
    try:
        found = engine.arrow(engine.spark.sql(f"SELECT copy, id, {columns} FROM edge"))
    except Exception:  # noqa: BLE001 - one of them, or one that test_parity speaks of
        half = len(expressions) // 2
        if half:
            yield from answers(engine, expressions[:half])
            yield from answers(engine, expressions[half:])
        return
    found = found.sort_by([("copy", "ascending"), ("id", "ascending")]).combine_chunks()
    for k, text in enumerate(expressions):
        yield text, found.column(f"c{k}").combine_chunks()


def differing(values: pa.Array) -> list[int]:
    first = values.slice(0, parity_corpus.ROWS)
    copies = [values.slice(k * parity_corpus.ROWS, parity_corpus.ROWS) for k in range(1, COPIES)]
    return [
        k
        for k, copy in enumerate(copies, 1)
        if not copy.equals(first) and repr(copy.to_pylist()) != repr(first.to_pylist())
    ]


def test_the_same_rows_have_the_same_answers_in_every_batch(engine) -> None:
    corpus = parity_corpus.corpus()["expressions"]
    asked = ALWAYS + [
        entry["q"]
        for entry in corpus[::STEP]
        if entry.get("c", [""])[0] == "id"
        and not ({"errors", "error", "window"} & entry.keys())
        and not any(name in entry["q"] for name in MANY_ROWS)
    ]
    compared, wrong = 0, {}
    for k in range(0, len(asked), TOGETHER):
        for text, values in answers(engine, asked[k : k + TOGETHER]):
            compared += 1
            if found := differing(values):
                wrong[text] = found[:3]
    assert wrong == {}
    assert compared > 0.9 * len(asked)
