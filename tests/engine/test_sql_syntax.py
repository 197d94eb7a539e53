"""Syntax that the embedded engine lacks gives what Apache Spark gives."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import Window
from pyspark.sql import functions as F
from pyspark.sql import types as t
from pyspark.sql.connect import proto
from syntax_answers import ANSWERS, answer, queries

from proa.engine import Engine
from proa.engine.plan_syntax import rename_references
from proa.engine.relations import relation_of
from proa.engine.sql_syntax import rewritten
from proa.errors import UserError

RECORDED = json.loads(ANSWERS.read_text())


@pytest.fixture(scope="module")
def engine():
    with Engine.start() as embedded:
        yield embedded


def relation(text):
    plan = proto.Relation()
    plan.sql.query = text
    return plan


def computed(engine, plan):
    frame = engine.dataframe(plan)
    table = engine.arrow(frame)
    columns = [column.to_pylist() for column in table.columns]
    return frame.schema.simpleString(), [list(row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded["query"])
def test_a_query_has_sparks_columns_and_rows(engine, recorded):
    text = recorded["query"]
    schema, rows = computed(engine, relation(text))
    assert answer(text, schema, rows) == recorded


def test_every_query_has_its_answer_recorded():
    assert [recorded["query"] for recorded in RECORDED] == queries()


PATHS = [
    ("j:a", "get_json_object(j, '$.a')"),
    ("t.j:a.b[0].c::int + 1", "get_json_object(t.j, '$.a.b[0].c')::int + 1"),
    ("j:['a b'].c", "get_json_object(j, '$[\\'a b\\'].c')"),
    ("j:items[*].x", "get_json_object(j, '$.items[*].x')"),
    ("`my col`:a", "get_json_object(`my col`, '$.a')"),
    ("'j:a' || \":b\"", None),
]


@pytest.mark.parametrize(("written", "expected"), PATHS)
def test_a_path_into_json_is_a_function(written, expected):
    text = f"SELECT {written} AS x FROM t"
    assert rewritten(text, no_schema) == f"SELECT {expected or written} AS x FROM t"


NAMED = [
    ("j:a", "get_json_object(j, '$.a') AS `a`"),
    ("j:a.b[0].c::int, j:x + 1", "get_json_object(j, '$.a.b[0].c')::int AS `c`, {x} + 1"),
    ("j:['a b'], j:x z", "get_json_object(j, '$[\\'a b\\']') AS `a b`, {x} z"),
    ("j:a::decimal(3, 2)", "get_json_object(j, '$.a')::decimal(3, 2) AS `a`"),
    ("j:a::struct<x:int, y:map<string, int>>, j:x < 1", "{a}::struct<x:int, y:map<string, int>> AS `a`, {x} < 1"),
    ("CAST(s AS array<struct<x:int>>), upper(j:x)", "CAST(s AS array<struct<x:int>>), upper({x})"),
    ("j:1", "j:1"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "expected"), NAMED)
def test_a_path_that_is_selected_gives_its_last_step_to_the_column(written, expected):
    paths = {name: f"get_json_object(j, '$.{name}')" for name in "ax"}
    wanted = f"SELECT {expected.format(**paths)} FROM t WHERE {paths['a']}"
    assert rewritten(f"SELECT {written} FROM t WHERE j:a", no_schema) == wanted


WINDOWS = [
    ("window(v, '1 day').start AS d", "d", "window.start AS d"),
    ("window(v, '1 day')", "WINDOW(v,'1 day')", "window"),
    ("window(v, '1 day').end", "window(v, '1 day')", "window.end AS `window.end`"),
    ("date(window(v, '1 day').end) AS d, k", "k, window(v, '1 day')", "date(window.end) AS d, k"),
    ("window(v, '1 day') w", "1", "window w"),
    ("window(v, '2 days').start, window.end", "window(v, '1 day')", None),
]


@pytest.mark.parametrize(("selected", "keys", "expected"), WINDOWS)
def test_a_window_of_time_has_its_name_outside_of_group_by(selected, keys, expected):
    def columns(_):
        return t.StructType([t.StructField("v", t.TimestampType())])

    text = rewritten(f"SELECT {selected} FROM q GROUP BY {keys}", columns)
    wanted = f"SELECT {expected or selected} FROM q GROUP BY"
    assert text.startswith(wanted)
    assert "window(v,'1day')" in text.lower().replace(" ", "").partition("groupby")[2]


REFUSED = [
    ("SELECT * EXCEPT (nope) FROM VALUES (1) t(a)", "UNRESOLVED_COLUMN", "'nope'"),
    (
        "SELECT * EXCEPT (id) FROM VALUES (1) a(id) JOIN VALUES (1) b(id) ON a.id = b.id",
        "AMBIGUOUS_REFERENCE",
        "several tables",
    ),
    (
        "SELECT *\nFROM VALUES (1, 2, 'x') t(id, a, b)\nUNPIVOT (v FOR k IN (a, b))",
        "UNPIVOT_VALUE_DATA_TYPE_MISMATCH",
        "line 3",
    ),
    ("SELECT rand() AS r, r + 1 AS s", "UNSUPPORTED_FEATURE", "SELECT around this one"),
    ("SELECT\n* EXCEPT (a) FROM VALUES (1) t(a)", "UNSUPPORTED_FEATURE", "line 2"),
    (
        "SELECT b.* FROM VALUES (1) a(id) LEFT JOIN VALUES (1) b(id) USING (id)",
        "UNSUPPORTED_FEATURE",
        "(ON)",
    ),
    (
        "SELECT x FROM VALUES (array(1)) t(a), LATERAL explode(a) AS e(x)",
        "UNSUPPORTED_FEATURE",
        "write LATERAL VIEW explode",
    ),
    (
        "SELECT 1 FROM VALUES (struct(1)) a(s) JOIN VALUES (struct(1)) b(r) ON a.s = b.r",
        "UNSUPPORTED_FEATURE",
        "join on their fields",
    ),
    ("SELECT arrays_zip(a, a)[0] FROM VALUES (array(1)) t(a)", "UNSUPPORTED_FEATURE", "arrays_zip"),
    (
        "SELECT count(DISTINCT a) OVER () FROM VALUES (1) t(a)",
        "UNSUPPORTED_FEATURE",
        "DISTINCT over a window",
    ),
]


@pytest.mark.parametrize(("text", "condition", "words"), REFUSED)
def test_what_cannot_be_rewritten_is_refused_by_name_and_line(engine, text, condition, words):
    with pytest.raises(UserError) as caught:
        engine.schema(relation(text))
    assert caught.value.condition == condition
    assert words in str(caught.value)


DATAFRAMES = {
    "selectExpr EXCEPT": (lambda t: t.selectExpr("* except (m, w)"), ["id", "k", "v"]),
    "selectExpr aliases": (lambda t: t.selectExpr("id + 1 AS z", "z * 2 AS y"), ["z", "y"]),
    "columns' aliases": (
        lambda t: t.select((F.col("id") + 1).alias("q"), (F.col("q") + 1).alias("p")),
        ["q", "p"],
    ),
    "selectExpr explode": (lambda t: t.selectExpr("id", "explode(m) AS (q, r)"), ["id", "q", "r"]),
    "explode": (lambda t: t.select(F.explode("m").alias("q", "r")), ["q", "r"]),
    "a frame's own columns": (
        lambda t: t.select(t["*"], F.lit(1).alias("z")),
        ["id", "k", "v", "w", "m", "z"],
    ),
    "a frame's columns behind a join": (
        lambda t: (u := t.select("id", "k")).join(t.select("id", "v"), "id").select(u["*"], "v"),
        ["id", "k", "v"],
    ),
    "a table's columns behind a join": (
        lambda t: (
            t.select("k", "id")
            .alias("a")
            .join(t.select("id", "k").alias("b"), "id")
            .filter("id > 0")
            .select("a.*", F.col("b.id").alias("z"))
        ),
        ["id", "k", "z"],
    ),
    "keys of maps": (lambda t: t.select("m.a", F.col("m.b").alias("z")), ["a", "z"]),
    "groups by keys of maps": (lambda t: t.groupBy("m.a").agg(F.sum("m.a")), ["a", "sum(m.a)"]),
    "unpivot": (lambda t: t.unpivot("id", ["v", "w"], "n", "val"), ["id", "n", "val"]),
}


@pytest.mark.parametrize(("query", "names"), DATAFRAMES.values(), ids=DATAFRAMES.keys())
def test_dataframes_have_the_same_syntax(engine, query, names):
    table = engine.spark.createDataFrame(
        [(1, "x", 2, 3.5, {"a": 1})], "id int, k string, v int, w double, m map<string,int>"
    )
    assert engine.schema(relation_of(query(table))).names == names


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("SELECT trim(gone) AS gone, upper(gone) AS y FROM VALUES (1) t(a)", "gone"),
        ("SELECT upper(y) AS x, lower(x) AS y, trim(y) AS z FROM VALUES (1) t(a)", "y"),
    ],
)
def test_an_alias_that_needs_itself_is_a_column_that_is_not_there(engine, text, missing):
    with pytest.raises(UserError) as caught:
        engine.schema(relation(text))
    assert caught.value.condition == "UNRESOLVED_COLUMN"
    assert f"there is no column {missing!r}" in str(caught.value)


@pytest.mark.parametrize("frame", [lambda w: w, lambda w: w.rangeBetween(-7, 0)])
@pytest.mark.parametrize("order", ["cast(t AS bigint)", "cast(x AS bigint)", "unix_timestamp(t)"])
def test_a_window_is_ordered_and_partitioned_by_what_is_computed(engine, frame, order):
    rows = engine.spark.sql(
        "SELECT timestamp_seconds(s) AS t, cast(s AS string) AS x, double(v) AS v, ts AS g"
        " FROM VALUES (1, 2, '5'), (2, 3, '5'), (20, 4, '5') r(s, v, ts)"
    )
    window = frame(Window.partitionBy(F.col("g").cast("int")).orderBy(F.expr(order)))
    found = rows.select("v", F.sum("v").over(window).alias("s"), F.max("v").over(window).alias("m"))
    last = 4 if frame(window) is not window else 9
    assert sorted(
        tuple(row) for row in engine.arrow(found).to_pylist() for row in [row.values()]
    ) == [
        (2, 2, 2),
        (3, 5, 3),
        (4, last, 4),
    ]


def no_schema(text):
    raise AssertionError(text)


WORDS = "select from * except ( ) , t a b as group by all order qualify pivot for in 'x' 1 . with"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS.split()), max_size=20))
def test_no_text_makes_the_rewriter_fail_in_any_other_way(words):
    from pyspark.sql.types import IntegerType, StructType

    schema = StructType().add("a", IntegerType()).add("b", IntegerType())
    with contextlib.suppress(UserError):
        rewritten(" ".join(words), lambda _text: schema)


GAPS = st.sampled_from([" ", "\n", " /* GROUP BY ALL */ ", " -- QUALIFY\n"])


@settings(max_examples=60, deadline=None)
@given(st.lists(GAPS, min_size=5, max_size=5), st.sampled_from(["'* EXCEPT (a)'", "`all`", "1.50"]))
def test_a_text_without_the_syntax_stays_as_it_is(gaps, literal):
    a, b, c, d, e = gaps
    text = f"SELECT{a}{literal} AS x,{b}t.a{c}FROM{d}t{e}ORDER BY t.a"
    assert rewritten(text, no_schema) is text


@settings(max_examples=60, deadline=None)
@given(GAPS, GAPS, st.sampled_from(["'FROM (x)' || y", "t.`b` + 1", "f(x -> x + 1)"]))
def test_what_stands_around_the_syntax_stays_as_it_is(before, after, expression):
    text = f"SELECT{before}{expression} AS z FROM{after}t{before}GROUP BY ALL{after}LIMIT 3"
    expected = (
        f"SELECT{before}{expression} AS z FROM{after}t{before}GROUP BY {expression}{after}LIMIT 3"
    )
    assert rewritten(text, no_schema) == expected


def reading(text, **relations):
    """Return a plan of SQL that reads other plans under these names."""
    plan = proto.Relation()
    plan.with_relations.root.sql.query = text
    for name, relation in relations.items():
        reference = plan.with_relations.references.add()
        reference.subquery_alias.alias = name
        reference.subquery_alias.input.CopyFrom(relation)
    return plan


def names_of(plan):
    return [each.subquery_alias.alias for each in plan.with_relations.references]


def test_each_plan_has_names_of_its_own_for_what_its_sql_reads():
    """Spark keeps these names in the session: a plan inside, or beside, another reads its own rows."""
    inner = reading("SELECT 1 AS a FROM __proa_0", __proa_0=proto.Relation())
    text = (
        "SELECT '__proa_0', a -- __proa_0\nFROM __proa_0 AS x JOIN `__PROA_1` ON x.a = __proa_1.a"
    )
    plan = reading(text, __proa_0=inner, __proa_1=inner)
    before = plan.SerializeToString(deterministic=True)
    first, second = rename_references(plan), rename_references(plan)
    assert plan.SerializeToString(deterministic=True) == before
    levels = [
        each
        for outer in (first, second)
        for each in (outer, *(r.subquery_alias.input for r in outer.with_relations.references))
    ]
    names = [name for level in levels for name in names_of(level)]
    assert len(set(names)) == len(names) == 8
    for level in levels[1:3]:
        assert level.with_relations.root.sql.query == f"SELECT 1 AS a FROM {names_of(level)[0]}"
    a, b = names_of(first)
    assert first.with_relations.root.sql.query == (
        f"SELECT '__proa_0', a -- __proa_0\nFROM {a} AS x JOIN {b} ON x.a = {b}.a"
    )


def test_a_plan_that_reads_no_plan_is_left_as_it_is():
    plan = proto.Relation()
    plan.sql.query = "SELECT 1"
    assert rename_references(plan) is plan
