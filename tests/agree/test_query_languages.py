"""A query in SQL and the same query as a DataFrame are judged alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import Window
from pyspark.sql import functions as F

from proa.engine import Engine
from proa.errors import PipelineError, SourceLocation
from proa.graph.build import build
from proa.graph.findings import findings
from proa.pipelines.declaring_session import DeclaringSession
from proa.pipelines.definitions import Dataset, DatasetKind, Declarations, Flow, SqlQuery

HERE = SourceLocation("pipeline.sql", 1)
SCHEMA = "id bigint, who string, amount double, price decimal(10,2), at timestamp"
EVENTS = f"SELECT * FROM STREAM read_files('/in', format => 'json', schema => '{SCHEMA}')"
Query = Callable[[Any], Any]

COMPLETE: list[tuple[str, Query]] = [
    ("SELECT id, price FROM events", lambda e: e.select("id", "price")),
    ("SELECT id, current_timestamp() AS t FROM events",
     lambda e: e.select("id", F.current_timestamp().alias("t"))),
    ("SELECT id, rand() AS r FROM events", lambda e: e.select("id", F.rand().alias("r"))),
    ("SELECT who, sum(amount) AS s FROM events GROUP BY who",
     lambda e: e.groupBy("who").agg(F.sum("amount").alias("s"))),
    ("SELECT who, sum(price) AS s FROM events GROUP BY who",
     lambda e: e.groupBy("who").agg(F.sum("price").alias("s"))),
    ("SELECT who, first(id) AS f FROM events GROUP BY who",
     lambda e: e.groupBy("who").agg(F.first("id").alias("f"))),
    ("SELECT who, collect_list(id) AS l FROM events GROUP BY who",
     lambda e: e.groupBy("who").agg(F.collect_list("id").alias("l"))),
    ("SELECT * FROM events LIMIT 3", lambda e: e.limit(3)),
    ("SELECT who, count(*) AS n FROM events GROUP BY who ORDER BY who LIMIT 3",
     lambda e: e.groupBy("who").agg(F.count("*").alias("n")).orderBy("who").limit(3)),
    ("SELECT *, row_number() OVER (PARTITION BY who ORDER BY at) AS n FROM events",
     lambda e: e.withColumn("n", F.row_number().over(Window.partitionBy("who").orderBy("at")))),
    ("SELECT DISTINCT who FROM events", lambda e: e.select("who").distinct()),
    ("SELECT uuid() AS u FROM events", lambda e: e.select(F.expr("uuid()").alias("u"))),
]  # fmt: skip
STREAMS: list[tuple[str, Query]] = [
    ("SELECT id FROM STREAM events WHERE price > 1",
     lambda e: e.where("price > 1").select("id")),
    ("SELECT who, count(*) AS n FROM STREAM events GROUP BY who",
     lambda e: e.groupBy("who").agg(F.count("*").alias("n"))),
    ("SELECT DISTINCT who FROM STREAM events", lambda e: e.select("who").distinct()),
    ("SELECT id FROM STREAM events ORDER BY id", lambda e: e.select("id").orderBy("id")),
    ("SELECT id FROM STREAM events LIMIT 2", lambda e: e.select("id").limit(2)),
    ("SELECT id FROM STREAM events UNION ALL SELECT id FROM STREAM events",
     lambda e: e.select("id").union(e.select("id"))),
]  # fmt: skip


@pytest.fixture(scope="module")
def engine():
    with Engine.start() as started:
        yield started


def judgement(engine: Engine, query: SqlQuery | Query, kind: DatasetKind) -> set[str]:
    """The codes of the findings of a query, or the condition under which it is refused."""
    session = DeclaringSession({})

    def frame() -> Any:
        streams = kind is DatasetKind.STREAMING_TABLE
        return query((session.readStream if streams else session).table("events"))

    declared = query if isinstance(query, SqlQuery) else frame
    declarations = Declarations(
        (Dataset("events", DatasetKind.STREAMING_TABLE, HERE), Dataset("target", kind, HERE)),
        (
            Flow("events", "events", SqlQuery(EVENTS, HERE), HERE, implicit=True),
            Flow("target", "target", declared, HERE, implicit=True),
        ),
        session=session,
    )
    try:
        graph = build(declarations, analyze=engine.schema)
    except PipelineError as error:
        return {f"refused: {error.condition}"}
    return {finding.code for finding in findings(graph) if finding.dataset == "target"}


@pytest.mark.parametrize(("text", "query"), COMPLETE, ids=[text for text, _ in COMPLETE])
def test_findings_agree(engine, text, query):
    kind = DatasetKind.MATERIALIZED_VIEW
    as_sql = judgement(engine, SqlQuery(text, HERE), kind)
    assert judgement(engine, query, kind) == as_sql


@pytest.mark.parametrize(("text", "query"), STREAMS, ids=[text for text, _ in STREAMS])
def test_statefulness_agrees(engine, text, query):
    kind = DatasetKind.STREAMING_TABLE
    as_sql = judgement(engine, SqlQuery(text, HERE), kind)
    assert judgement(engine, query, kind) == as_sql


def test_both_lists_hold_what_is_refused_or_found_and_what_is_not(engine):
    """Otherwise the comparisons above would say nothing."""
    found = [
        judgement(engine, SqlQuery(text, HERE), DatasetKind.MATERIALIZED_VIEW)
        for text, _ in COMPLETE
    ]
    refused = [
        judgement(engine, SqlQuery(text, HERE), DatasetKind.STREAMING_TABLE) for text, _ in STREAMS
    ]
    for judged in (found, refused):
        assert any(judged)
        assert not all(judged)
