"""A finding about the order of rows is true: the same rows in another order give another result.
And a query without a finding gives the same rows whatever the order.

Regions that cut the same files into other batches hold the same rows in another order: that is what
the queries of the corpus are shown here.
"""

import datetime as dt
import decimal
import hashlib
import itertools
import json

import pytest
from findings_corpus import DATAFRAMES, SCHEMA, SQL
from generated_queries import queries
from hypothesis import event, given, reject, settings

from proa.engine.relations import relation_of
from proa.errors import UserError
from proa.graph.findings import findings

pytestmark = pytest.mark.slow

BY_ORDER = {
    "TIES_IN_WINDOW",
    "LIMIT_WITHOUT_TOTAL_ORDER",
    "ORDER_DEPENDENT_AGGREGATE",
    "DUPLICATES_BY_SUBSET",
    "FLOAT_SUM",
}
NOT_SHOWN = (
    *("percentile", "histogram", "mode", "approx_top_k", "collect_set"),
    "rollup",
    *("lead(n) over (order by who)", "over (order by who) as r from (select who, n, max"),
)
"""Sketches, which depend on the order only over more rows; and rows that this engine has sorted or
hashed for something else before, so that they always come in one order. ROLLUP's sums have ties only where keys are NULL.
"""

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PRICES = (1e12, 0.1, -1e12, 0.3, 2.7)
ORDERS = 4
NOT_COMPUTED = (
    *("e.user", "unknown", "input_file_name", "_metadata", "posexplode", "read_files"),
    *("udf that parses", "file name", "cut path", "collect_union", "localtime()"),
)
"""What is not among these rows, or what the engine cannot compute."""


def digits(number, salt=""):
    """Numbers that look like chance and are always the same."""
    return hashlib.sha256(f"{number}{salt}".encode()).digest()


def rows(ids):
    """Rows with many ties. With `ids`, there are so many different ids, else each has its own."""
    for number in range(70):
        d = digits(number)
        yield {
            "id": d[7] % ids if ids else number,
            "ts": START + dt.timedelta(hours=d[0] % 3),
            "who": "abcde"[number % 5],
            "price": PRICES[d[2] % 5],
            "amount": decimal.Decimal(d[3] % 4),
            "n": d[4] % 7,
            "tags": [str(d[5] % 7), "x"],
            "nested": {"temp": PRICES[d[6] % 5], "level": d[6] % 2},
        }


def orders(ids):
    known = list(rows(ids))
    yield known
    for salt in range(1, ORDERS):
        yield [known[i] for i in sorted(range(len(known)), key=lambda i: digits(i, salt))]


@pytest.fixture(scope="module")
def tables(engine):
    """The rows of each table in each of the orders."""
    return {
        name: [
            relation_of(engine.spark.createDataFrame([list(row.values()) for row in order], SCHEMA))
            for order in orders(ids)
        ]
        for name, ids in (("events", None), ("raw", 6))
    }


@pytest.fixture
def judged(engine, new_pipeline, tables):
    """(the findings of a query, its rows over each order)."""
    return lambda query: judge(engine, new_pipeline(), tables, query)


def judge(engine, pipeline, tables, query):
    pipeline.streaming_table(
        "events",
        "SELECT * FROM STREAM read_files('/in', schema => 'id bigint')",
        schema=SCHEMA,
        primary_key=("id",),
    )
    pipeline.streaming_table("raw", "SELECT * FROM STREAM events", schema=SCHEMA)
    pipeline.view("people", "SELECT who, max(id) AS name FROM events GROUP BY who")

    pipeline.materialized_view("target", query)
    graph = pipeline.build(analyze=engine.schema)
    codes = {f.code for f in findings(graph) if f.dataset == "target"}
    plan = graph.datasets["target"].flows[0].plan
    answers = []
    for number in range(ORDERS):
        bound = plan.bind({leaf.key: tables[leaf.dataset][number] for leaf in plan.leaves})
        answers.append(engine.arrow(engine.dataframe(bound)).to_pylist())
    return codes, [sorted(json.dumps(row, default=repr) for row in answer) for answer in answers]


def deterministic(text, expected):
    computed = not any(word in text for word in ("STREAM", *NOT_COMPUTED))
    return set(expected.split()) <= BY_ORDER and computed


CASES = [case for case in SQL if deterministic(*case)]
FRAMES = {
    name: (query, expected)
    for name, (query, expected) in DATAFRAMES.items()
    if set(expected.split()) <= BY_ORDER and name not in NOT_COMPUTED
}


def exact(text):
    """Whether the floats that are added are small whole numbers, whose sums are exact."""
    return "price" not in text and "temp" not in text


def check(codes, answers, text):
    differs = any(one != other for one, other in itertools.pairwise(answers))
    if not codes:
        assert not differs
    elif not any(word in text for word in NOT_SHOWN) and not (
        codes == {"FLOAT_SUM"} and exact(text)
    ):
        assert differs


@pytest.mark.parametrize("text", [text for text, _ in CASES])
def test_sql_differs_where_a_finding_says_so_and_nowhere_else(judged, text):
    check(*judged(text), text.lower())


@pytest.mark.parametrize("name", FRAMES)
def test_dataframes_differ_where_a_finding_says_so_and_nowhere_else(judged, name):
    query, _ = FRAMES[name]
    check(*judged(lambda spark: query(spark.table("events"))), name)


BY_TIME_OR_CHANCE = [
    text
    for text, expected in SQL
    if expected in ("CLOCK", "RANDOM")
    and text.startswith("SELECT")
    and "STREAM" not in text
    # the same on one day and in one second, in one partition, or with the sample that the engine takes
    and not any(
        w in text
        for w in (
            *("date", "unix_", "'now'", "ts >", "partition_id", "TABLESAMPLE", "LATERAL"),
            *NOT_COMPUTED,
        )
    )
]


@pytest.mark.parametrize("text", BY_TIME_OR_CHANCE)
def test_what_depends_on_time_or_chance_differs_each_time(judged, text):
    codes, answers = judged(text)
    assert codes
    assert any(one != other for one, other in itertools.pairwise(answers))


def test_most_of_the_corpus_is_shown():
    assert len(CASES) + len(FRAMES) > 100


@settings(max_examples=40, deadline=None)
@given(queries())
def test_a_query_made_by_chance_without_a_finding_gives_the_same_rows(
    engine, new_pipeline, tables, query
):
    try:
        codes, answers = judge(engine, new_pipeline(), tables, query.text)
    except UserError as error:
        if error.condition != "UNSUPPORTED_FEATURE":
            raise
        event("the embedded engine refuses it")
        reject()
    event("silent" if not codes else "found")
    if not codes:
        assert all(answer == answers[0] for answer in answers)
