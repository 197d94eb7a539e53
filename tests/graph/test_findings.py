"""Each rule finds what depends on the environment, and leaves everything else alone."""

import time
from pathlib import Path

import pytest
from findings_corpus import DATAFRAMES, SCHEMA, SQL
from pyspark.sql import functions as F

from proa.errors import SourceLocation
from proa.graph.findings import RULES, Severity, findings, judge
from proa.pipelines.definitions import AutoCdc, Expectation
from proa.settings import AcceptedFinding
from proa.violations import Violation

REGION = {"landing_zone": "/landing/us-east", "region": "us-east"}


@pytest.fixture
def found(pipeline, engine):
    """The findings of one query over the corpus's tables."""
    pipeline.streaming_table(
        "events",
        f"SELECT * FROM STREAM read_files('/in', schema => '{SCHEMA}')",
        schema=SCHEMA,
        primary_key=("id",),
    )
    pipeline.streaming_table("raw", "SELECT * FROM STREAM events", schema=SCHEMA)
    pipeline.materialized_view("people", "SELECT who, max(id) AS name FROM events GROUP BY who")

    def run(query, kind="materialized_view", **fields):
        getattr(pipeline, kind)("target", query, **fields)
        return findings(pipeline.build(analyze=engine.schema), region_values=REGION)

    return run


def codes(found):
    return {finding.code for finding in found}


@pytest.mark.parametrize(("text", "expected"), SQL)
def test_sql(found, text, expected):
    kind = "streaming_table" if "STREAM" in text else "materialized_view"
    assert codes(found(text, kind)) == set(expected.split())


@pytest.mark.parametrize(("query", "expected"), DATAFRAMES.values(), ids=DATAFRAMES.keys())
def test_dataframes(found, query, expected):
    def over_events(spark):
        return query(spark.table("events"))

    assert codes(found(over_events)) == set(expected.split())


def test_every_rule_is_in_the_corpus():
    cases = [*SQL, *DATAFRAMES.values()]
    shown = {code for _, expected in cases for code in expected.split()}
    assert {rule.code for rule in RULES} - shown == {
        "STREAM_STATIC_JOIN",
        "ONCE_FLOW",
        "VERSIONS_OF_TABLES",
        "SEQUENCE_TIES",
    }


def test_the_corpus_is_large_and_half_of_it_is_innocent():
    cases = [*SQL, *DATAFRAMES.values()]
    assert len(cases) > 150
    assert 0.35 < sum(not expected for _, expected in cases) / len(cases) < 0.65


def test_a_finding_says_where_what_why_and_what_to_do(found):
    (finding,) = found("SELECT id,\n  upper(who) AS name,\n  now() AS loaded_at\nFROM events")
    assert finding.code == "CLOCK"
    assert finding.severity is Severity.ERROR
    assert (finding.dataset, finding.column) == ("target", "loaded_at")
    assert finding.expression == "CURRENT_TIMESTAMP()"
    assert finding.location == SourceLocation("pipeline.sql", 3)
    assert "different times" in finding.why
    assert "event's own timestamp" in finding.remedy


def test_a_finding_in_a_dataframe_has_the_line_of_its_column(found):
    def query(spark):
        return spark.table("events").select(
            "id",
            F.current_timestamp().alias("at"),
        )

    (finding,) = found(query)
    assert finding.location == SourceLocation(__file__, query.__code__.co_firstlineno + 3)


def test_spark_sql_inside_of_python_is_located_in_the_function(found):
    def query(spark):
        return spark.sql("""
            SELECT id,
              rand() AS chance
            FROM events
        """)

    (finding,) = found(query)
    assert finding.location == SourceLocation(__file__, query.__code__.co_firstlineno + 3)


def test_a_clock_that_is_read_while_the_query_is_declared_is_found(found):
    def query(spark):
        return spark.table("events").withColumn("at", F.lit(time.time()))  # noqa: TID251

    (finding,) = found(query)
    assert (finding.code, finding.expression) == ("CLOCK", "time.time()")
    assert finding.location == SourceLocation(__file__, query.__code__.co_firstlineno + 1)


def test_a_stream_that_meets_a_table_is_found(found):
    (finding,) = found("SELECT * FROM STREAM events JOIN people USING (who)", "streaming_table")
    assert finding.code == "STREAM_STATIC_JOIN"
    assert finding.expression == "target reads people"


def test_versions_of_a_table_of_the_pipeline_are_found(found):
    (finding,) = found("SELECT id FROM STREAM events WITH (startingVersion = 3)", "streaming_table")
    assert finding.code == "VERSIONS_OF_TABLES"
    assert finding.expression == "target reads versions of events"


def test_a_flow_that_runs_once_is_found(found, pipeline):
    pipeline.flow("back_fill", "target", "SELECT * FROM people", once=True)
    assert codes(found("SELECT * FROM STREAM events", "streaming_table")) == {"ONCE_FLOW"}


def test_an_expectation_that_drops_by_the_clock_is_found_and_one_that_warns_is_not(found, pipeline):
    here = SourceLocation("rules.py", 7)
    rules = (
        Expectation("fresh", "ts > now()", Violation.DROP, here),
        Expectation("seen", "ts <= current_timestamp()", Violation.WARN, here),
        Expectation("known", "id IS NOT NULL", Violation.FAIL, here),
    )
    (finding,) = found("SELECT * FROM events", expectations=rules)
    assert (finding.code, finding.location) == ("CLOCK", here)


def test_a_view_is_found_once_however_often_it_is_read(pipeline):
    pipeline.view("v", "SELECT 1 AS id, now() AS at")
    pipeline.view("unread", "SELECT rand() AS r")
    pipeline.materialized_view("a", "SELECT * FROM v")
    pipeline.materialized_view("b", "SELECT * FROM v")
    (finding,) = findings(pipeline.build())
    assert (finding.dataset, finding.code) == ("v", "CLOCK")


def test_types_travel_through_datasets(pipeline):
    files = "SELECT * FROM STREAM read_files('/x', schemaHints => 'price double')"
    pipeline.streaming_table("bronze", files)
    pipeline.streaming_table("silver", "SELECT price AS cost FROM STREAM bronze")
    pipeline.materialized_view("gold", "SELECT sum(cost) AS s FROM silver")
    (finding,) = findings(pipeline.build())
    assert (finding.dataset, finding.code) == ("gold", "FLOAT_SUM")


def test_judging_sorts_by_settings(found):
    every = found("SELECT now() AS at, rand() AS r, sum(price) AS s FROM events GROUP BY 1, 2")
    assert codes(every) == {"CLOCK", "RANDOM", "FLOAT_SUM"}
    strict = judge(every, "error")
    assert (codes(strict.errors), codes(strict.warnings)) == ({"CLOCK", "RANDOM"}, {"FLOAT_SUM"})
    mild = judge(every, "warn")
    assert (codes(mild.errors), len(mild.warnings)) == (set(), len(every))
    assert judge(every, "off").warnings == ()


def test_findings_are_accepted_by_code_or_for_one_dataset(found):
    every = found("SELECT now() AS at, rand() AS r FROM events")
    accept = [
        AcceptedFinding(finding="CLOCK:target", reason="only shown to people"),
        AcceptedFinding(finding="RANDOM:elsewhere", reason="no"),
        AcceptedFinding(finding="FLOAT_SUM", reason="no"),
    ]
    judged = judge(every, "error", accept)
    assert [(finding.code, why) for finding, why in judged.accepted] == [
        ("CLOCK", "only shown to people")
    ]
    assert codes(judged.errors) == {"RANDOM"}
    assert [entry.finding for entry in judged.unused] == ["RANDOM:elsewhere", "FLOAT_SUM"]
    only_in_rows = AcceptedFinding(
        finding="SEQUENCE_TIES:target", reason="the source repeats itself"
    )
    assert judge((), "error", [only_in_rows]).unused == ()


def test_the_reference_lists_every_rule_in_its_own_words():
    page = (Path(__file__).parents[2] / "docs/reference/findings.md").read_text()
    for rule in RULES:
        remedy = rule.remedy.replace("|", "\\|")
        assert f"| `{rule.code}` | {rule.severity} | {rule.why} | {remedy} |" in page


APPLIED = AutoCdc(("order_id",), "seq")
HISTORY = AutoCdc(("order_id",), "seq", history=True)


@pytest.mark.parametrize(
    ("cdc", "order", "expected"),
    [
        (APPLIED, "order_id", set()),
        (APPLIED, "seq", {"TIES_IN_WINDOW"}),
        (HISTORY, "order_id", {"TIES_IN_WINDOW"}),
        (HISTORY, "order_id, __START_AT", set()),
    ],
)
def test_the_keys_of_applied_changes_are_keys(pipeline, cdc, order, expected):
    pipeline.streaming_table("changes", "SELECT * FROM STREAM read_files('/in', schema => 'a int')")
    pipeline.streaming_table("orders")
    pipeline.flow("f", "orders", "SELECT * FROM STREAM changes", cdc=cdc)
    text = f"SELECT *, row_number() OVER (PARTITION BY who ORDER BY {order}) AS r FROM orders"
    pipeline.materialized_view("target", text)
    assert codes(f for f in findings(pipeline.build()) if f.dataset == "target") == expected
