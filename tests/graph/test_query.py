"""A query is read once, and DataFrames and SQL that say the same become the same steps."""

import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from proa.graph import sql_text
from proa.graph.query import JoinKind, Operator
from proa.graph.sql_text import SqlTexts
from proa.text import quote_identifier


def operators(query):
    return [step.operator for step in query.walk() if step.operator is not Operator.OTHER]


def steps(pipeline, query):
    pipeline.materialized_view("t", "SELECT 1 AS id, 2 AS n, 'x' AS who")
    pipeline.materialized_view("u", "SELECT 1 AS id")
    pipeline.materialized_view("target", query)
    return pipeline.build().datasets["target"].flows[0].plan.query


PAIRS = [
    ("SELECT id FROM t", lambda s: s.table("t").select("id")),
    ("SELECT * FROM t WHERE n > 1", lambda s: s.table("t").filter("n > 1").select("*")),
    ("SELECT who, sum(n) FROM t GROUP BY who", lambda s: s.table("t").groupBy("who").agg(F.sum("n"))),
    ("SELECT id FROM t ORDER BY id LIMIT 2", lambda s: s.table("t").select("id").orderBy("id").limit(2)),
    ("SELECT DISTINCT id FROM t", lambda s: s.table("t").select("id").distinct()),
    ("SELECT * FROM t LEFT JOIN u USING (id)", lambda s: s.table("t").join(s.table("u"), "id", "left").select("*")),
    ("SELECT * FROM t FULL JOIN u USING (id)", lambda s: s.table("t").join(s.table("u"), "id", "full").select("*")),
    ("SELECT id FROM t UNION ALL SELECT id FROM u", lambda s: s.table("t").select("id").union(s.table("u").select("id"))),
    ("SELECT id FROM t EXCEPT SELECT id FROM u", lambda s: s.table("t").select("id").subtract(s.table("u").select("id"))),
    ("SELECT * FROM t TABLESAMPLE (10 PERCENT)", lambda s: s.table("t").sample(0.1).select("*")),
    ("SELECT * FROM t UNPIVOT (v FOR k IN (id, n))", lambda s: s.table("t").unpivot("who", ["id", "n"], "k", "v").select("*")),
]  # fmt: skip


def test_dataframes_and_sql_become_the_same_operators(new_pipeline):
    for text, dataframe in PAIRS:
        of_sql, of_plan = steps(new_pipeline(), text), steps(new_pipeline(), dataframe)
        assert operators(of_sql) == operators(of_plan), text
        joins = [
            [s.join for s in q.walk() if s.operator is Operator.JOIN] for q in (of_sql, of_plan)
        ]
        assert joins[0] == joins[1]


def test_a_lateral_query_is_a_join_whose_steps_are_read(pipeline):
    query = steps(pipeline, "SELECT * FROM t, LATERAL (SELECT max(id) AS m FROM u)")
    (join,) = (step for step in query.walk() if step.operator is Operator.JOIN)
    assert join.join is JoinKind.LATERAL
    assert Operator.AGGREGATE in operators(join.inputs[1])


def test_a_text_is_parsed_once_however_many_rules_look_at_it(pipeline, monkeypatch):
    parsed = []
    parse = sqlglot.parse

    def counting(text, **arguments):
        parsed.append(text)
        return parse(text, **arguments)

    monkeypatch.setattr(sqlglot, "parse", counting)
    pipeline.streaming_table("events", "SELECT * FROM STREAM read_files('/in', schema => 'a int')")

    def query(spark):
        events = spark.readStream.table("events").withColumn("b", F.expr("a + 1"))
        return spark.sql("SELECT a, b FROM {e} e WHERE a > 1", e=events)

    pipeline.streaming_table("target", query)
    from proa.graph.findings import findings

    findings(pipeline.build())
    assert len(parsed) == len(set(parsed)) == 3


def test_the_texts_of_a_flow_are_read_once():
    texts = SqlTexts()
    assert texts.query("SELECT 1") is texts.query("SELECT 1")
    assert texts.expression("a + 1") is texts.expression("a + 1")


NAMES = st.text("abz ß.-'\"`", min_size=1, max_size=6).filter(lambda name: name.strip() == name)
SPACE = st.sampled_from([" ", "\n", " -- FROM t\n", " /* STREAM(y) */ ", "\t"])
LITERALS = st.sampled_from(
    ["'FROM `t`'", "1.50", '"a -- b"', "X'1F'", "r'\\d'", "DATE'2026-01-01'"]
)


@settings(max_examples=40, deadline=None)
@given(NAMES, st.lists(st.tuples(SPACE, LITERALS), max_size=4), st.booleans(), SPACE)
def test_the_engine_gets_the_text_as_written_but_for_the_names(
    new_pipeline, name, items, stream, space
):
    pipeline = new_pipeline()
    pipeline.streaming_table(quote_identifier(name), "SELECT * FROM STREAM read_files('/in')")
    selected = "".join(f"{gap}{literal} AS c{n},{gap}" for n, (gap, literal) in enumerate(items))
    before, after = (
        f"SELECT{space}{selected}*{space}FROM{space}",
        f"{space}AS x{space}WHERE a = 'z' ",
    )
    read = (
        f"STREAM{space}({space}{quote_identifier(name)}{space})"
        if stream
        else quote_identifier(name)
    )
    kind = pipeline.streaming_table if stream else pipeline.materialized_view
    kind("target", f"{before}{read}{after}")
    plan = pipeline.build().datasets["target"].flows[0].plan
    assert plan.template.with_relations.root.sql.query == f"{before}__proa_0{after}"


def test_what_is_written_in_python_is_read_with_the_same_care(pipeline):
    read = sql_text.expression("`a b` + 1 AS `c`")
    assert [read.text[t.start - read.shift : t.end + 1 - read.shift] for t in read.tokens] == [
        "`a b`", "+", "1", "AS", "`c`",
    ]  # fmt: skip
