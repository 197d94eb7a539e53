"""SQL files declare datasets and flows; queries stay as they were written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.errors import PipelineError
from proa.pipelines.definitions import Dataset, DatasetKind, Expectation, Flow
from proa.pipelines.sql.declarations import SqlDeclarations, declare
from proa.pipelines.sql.lexer import SqlText
from proa.violations import Violation

STREAMING, VIEW, MATERIALIZED = (
    DatasetKind.STREAMING_TABLE,
    DatasetKind.TEMPORARY_VIEW,
    DatasetKind.MATERIALIZED_VIEW,
)


def read(text: str, **configuration: str) -> SqlDeclarations:
    return declare(SqlText(text, "f.sql"), configuration)


def one(text: str) -> tuple[Dataset, Flow]:
    found = read(text)
    (dataset,), (flow,) = found.datasets, found.flows
    return dataset, flow


@pytest.mark.parametrize(
    ("head", "kind", "private"),
    [
        ("CREATE STREAMING TABLE", STREAMING, False),
        ("CREATE OR REFRESH STREAMING TABLE", STREAMING, False),
        ("create or replace streaming table", STREAMING, False),
        ("CREATE OR REFRESH PRIVATE STREAMING TABLE", STREAMING, True),
        ("CREATE OR REFRESH TEMPORARY STREAMING TABLE", STREAMING, True),
        ("CREATE STREAMING TABLE IF NOT EXISTS", STREAMING, False),
        ("CREATE OR REFRESH STREAMING LIVE TABLE", STREAMING, False),
        ("CREATE INCREMENTAL LIVE TABLE", STREAMING, False),
        ("CREATE MATERIALIZED VIEW", MATERIALIZED, False),
        ("CREATE OR REFRESH MATERIALIZED VIEW", MATERIALIZED, False),
        ("CREATE OR REPLACE MATERIALIZED VIEW", MATERIALIZED, False),
        ("CREATE PRIVATE MATERIALIZED VIEW", MATERIALIZED, True),
        ("CREATE OR REFRESH LIVE TABLE", MATERIALIZED, False),
        ("CREATE LIVE TABLE", MATERIALIZED, False),
        ("CREATE TEMPORARY LIVE TABLE", MATERIALIZED, True),
        ("CREATE TEMPORARY VIEW", VIEW, True),
        ("CREATE OR REPLACE TEMPORARY VIEW", VIEW, True),
        ("CREATE TEMPORARY STREAMING VIEW", VIEW, True),
        ("CREATE TEMPORARY LIVE VIEW", VIEW, True),
        ("CREATE LIVE VIEW", VIEW, False),
        ("CREATE STREAMING LIVE VIEW", VIEW, False),
        ("CREATE VIEW", VIEW, False),
    ],
)
def test_every_spelling_of_a_dataset_is_understood(head, kind, private):
    dataset, flow = one(f"{head} orders AS SELECT 1")
    assert (dataset.name, dataset.kind, dataset.private) == ("orders", kind, private)
    assert (flow.name, flow.target, flow.implicit) == ("orders", "orders", True)
    assert flow.query.text == "SELECT 1"


def test_a_full_header_is_understood():
    dataset, _ = one("""
        -- what it is for
        CREATE OR REFRESH STREAMING TABLE sales.`daily orders` (
          id BIGINT NOT NULL COMMENT 'the buyer''s number',
          items ARRAY<STRUCT<sku: STRING, price: DECIMAL(10, 2)>>,
          `odd name` STRING NULL PRIMARY KEY,
          region STRING CONSTRAINT in_region REFERENCES regions (name) NOT ENFORCED NOT NULL,
          CONSTRAINT has_id EXPECT (id IS NOT NULL AND (id > 0)) ON VIOLATION DROP ROW,
          CONSTRAINT priced EXPECT (size(items) > 0) ON VIOLATION FAIL UPDATE,
          CONSTRAINT `nice to have` EXPECT (region IN ('a', 'b')),
          CONSTRAINT pk PRIMARY KEY (id TIMESERIES) NOT ENFORCED RELY,
          FOREIGN KEY (region) REFERENCES regions (name)
        )
        USING DELTA
        PARTITIONED BY (region, `odd name`)
        COMMENT "orders, as they arrive"
        TBLPROPERTIES ("quality" = "silver", pipelines.reset.allowed = false, 'a' 'b', n = 1.5)
        LOCATION 's3://bucket/orders'
        AS SELECT * FROM STREAM(raw)
    """)
    assert dataset.name == "sales.`daily orders`"
    assert dataset.schema == (
        r"`id` BIGINT NOT NULL COMMENT 'the buyer\'s number',"
        " `items` ARRAY<STRUCT<sku: STRING, price: DECIMAL(10, 2)>>,"
        " `odd name` STRING, `region` STRING NOT NULL"
    )
    assert [(e.name, e.condition, e.violation) for e in dataset.expectations] == [
        ("has_id", "id IS NOT NULL AND (id > 0)", Violation.DROP),
        ("priced", "size(items) > 0", Violation.FAIL),
        ("nice to have", "region IN ('a', 'b')", Violation.WARN),
    ]
    assert dataset.primary_key == ("odd name", "id")
    assert dataset.partition_cols == ("region", "odd name")
    assert dataset.comment == "orders, as they arrive"
    assert dataset.properties == {
        "quality": "silver",
        "pipelines.reset.allowed": "false",
        "a": "b",
        "n": "1.5",
    }
    assert dataset.path == "s3://bucket/orders"
    assert str(dataset.location) == "f.sql:3"


def test_a_column_schema_is_what_spark_reads():
    dataset, _ = one("CREATE STREAMING TABLE t (a INT NOT NULL COMMENT 'x', b STRING) AS SELECT 1")
    from proa.pipelines.ddl import parse_type

    assert [field.name for field in parse_type(dataset.schema).fields] == ["a", "b"]


@pytest.mark.parametrize(
    ("clause", "columns"),
    [("CLUSTER BY (a, b)", ("a", "b")), ("CLUSTER BY AUTO", ()), ("CLUSTER BY NONE", ())],
)
def test_clustering_is_kept_when_columns_are_named(clause, columns):
    dataset, _ = one(f"CREATE MATERIALIZED VIEW t {clause} AS SELECT 1")
    assert dataset.cluster_by == columns


@pytest.mark.parametrize(
    "clause",
    ["USING DELTA", "USING parquet", "DEFAULT COLLATION UTF8_BINARY", "REFRESH POLICY AUTO"],
)
def test_clauses_that_change_nothing_here_are_accepted(clause):
    assert one(f"CREATE MATERIALIZED VIEW t {clause} AS SELECT 1")[0].name == "t"


def test_a_streaming_table_without_a_query_waits_for_flows():
    found = read("""
        CREATE OR REFRESH STREAMING TABLE t (CONSTRAINT c EXPECT (a > 0));
        CREATE FLOW f COMMENT 'new ones' AS INSERT INTO t BY NAME SELECT * FROM STREAM(a);
        CREATE FLOW g AS INSERT INTO ONCE LIVE.t BY NAME SELECT * FROM b;
    """)
    assert [dataset.name for dataset in found.datasets] == ["t"]
    assert found.datasets[0].schema is None
    assert [(f.name, f.target, f.once, f.comment, f.implicit) for f in found.flows] == [
        ("f", "t", False, "new ones", False),
        ("g", "LIVE.t", True, None, False),
    ]


@pytest.mark.parametrize(("once", "expected"), [("", False), ("ONCE ", True)])
def test_a_streaming_table_may_carry_its_flow(once, expected):
    _, flow = one(f"CREATE STREAMING TABLE t FLOW INSERT {once}BY NAME SELECT * FROM STREAM a")
    assert (flow.once, flow.query.text) == (expected, "SELECT * FROM STREAM a")


def test_set_applies_to_the_statements_below_it():
    found = read("""
        CREATE MATERIALIZED VIEW before AS SELECT 1;
        SET start = '2026-01-01';
        SET pipelines.trigger.interval = 15 minutes; -- a comment
        SET quoted = "10 seconds";
        SET spark.source;
        CREATE MATERIALIZED VIEW after AS SELECT * FROM t WHERE d > ${start};
    """)
    before, after = found.flows
    assert before.spark_conf == {}
    assert after.query.text == "SELECT * FROM t WHERE d > '2026-01-01'"
    assert after.spark_conf == {
        "start": "2026-01-01",
        "pipelines.trigger.interval": "15 minutes",
        "quoted": "10 seconds",
    }
    assert found.datasets[1].spark_conf == after.spark_conf


QUERIES = st.lists(
    st.sampled_from(
        [" a", " 'x ; y'", " (b)", " /* c */", " -- d\n", "\n", " `e`", ",", " ${p}", " 1.5", " é"]
    )
).map(lambda parts: "SELECT 1" + "".join(parts) + " FROM t")


@given(QUERIES)
def test_the_query_is_the_users_own_text(query: str):
    found = read(f"-- before\nCREATE MATERIALIZED VIEW t AS\n\n{query} -- after\n;", p="p")
    assert found.flows[0].query.text == query.replace("${p}", "p")
    assert found.flows[0].query.location.line == 4


def test_the_query_ends_with_its_last_word():
    _, flow = one("CREATE LIVE VIEW v AS SELECT 1 /* kept */ + 2  -- not kept\n\n;")
    assert flow.query.text == "SELECT 1 /* kept */ + 2"


@pytest.mark.parametrize(
    "query",
    ["WITH a AS (SELECT 1) SELECT * FROM a", "FROM t SELECT *", "(SELECT 1)", "VALUES (1)"],
)
def test_a_query_may_begin_in_every_way_spark_knows(query):
    assert one(f"CREATE MATERIALIZED VIEW v AS {query}")[1].query.text == query


def test_identifier_clauses_name_datasets():
    found = read("CREATE MATERIALIZED VIEW IDENTIFIER('${schema}.t') AS SELECT 1", schema="s")
    assert found.datasets[0].name == "s.t"


def refused(text: str) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        read(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("CREATE", 1, "expected STREAMING TABLE"),
        ("CREATE OR RENEW VIEW a AS SELECT 1", 1, "'RENEW': expected REFRESH or REPLACE"),
        ("CREATE STREAMING VEIW a", 1, "'VEIW'"),
        ("CREATE MATERIALIZED TABLE a", 1, "'TABLE': expected VIEW"),
        ("CREATE STREAMING TABLE\n(a INT)", 2, "expected the streaming table's name"),
        ("CREATE STREAMING TABLE t\n(a INT,) AS SELECT 1", 2, "a column's name"),
        ("CREATE STREAMING TABLE t\n(a INT AS SELECT 1", 2, "after the type of 'a'"),
        ("CREATE STREAMING TABLE t (a) AS SELECT 1", 1, "expected the type of the column 'a'"),
        ("CREATE STREAMING TABLE t (a INT BIG) AS", 1, "query"),
        ("CREATE STREAMING TABLE t (CONSTRAINT c EXPECT a > 0)", 1, "expected ( before"),
        ("CREATE STREAMING TABLE t (CONSTRAINT c EXPCT (a))", 1, "expected EXPECT"),
        ("CREATE STREAMING TABLE t (CONSTRAINT c EXPECT (a) ON VIOLATION DROP)", 1, "DROP ROW"),
        ("CREATE STREAMING TABLE t COMMENT x", 1, "string in quotes after COMMENT"),
        ("CREATE STREAMING TABLE t\n\nCOMENT 'x' AS SELECT 1", 3, "'COMENT': expected AS"),
        ("CREATE STREAMING TABLE t PARTITIONED BY a", 1, "expected ("),
        ("CREATE STREAMING TABLE t TBLPROPERTIES (a = )", 1, "a value for the property 'a'"),
        ("CREATE MATERIALIZED VIEW v", 1, "the end of the statement: expected AS"),
        ("CREATE MATERIALIZED VIEW v AS", 1, "expected a query"),
        ("CREATE MATERIALIZED VIEW v AS SLECT 1", 1, "'SLECT': expected a query"),
        ("CREATE MATERIALIZED VIEW v AS SELECT (1", 1, "never closed: expected ')'"),
        ("CREATE MATERIALIZED VIEW v AS SELECT\n1)", 2, "closes nothing"),
        ("CREATE MATERIALIZED VIEW v AS SELECT (1]", 1, "do not match"),
        ("CREATE MATERIALIZED VIEW v FLOW INSERT BY NAME SELECT 1", 1, "only a streaming table"),
        ("CREATE TEMPORARY VIEW v (a INT) AS SELECT 1", 1, "name and cast them in its query"),
        ("CREATE FLOW f AS SELECT 1", 1, "expected INSERT"),
        ("CREATE FLOW f AS INSERT INTO t SELECT 1", 1, "expected BY after INSERT INTO t"),
        ("SET = 1", 1, "expected a key"),
    ],
)
def test_a_syntax_error_names_file_line_and_what_was_expected(text, line, message):
    error = refused(text)
    assert error.condition == "PARSE_SYNTAX_ERROR"
    assert message in str(error)
    assert (error.location.file, error.location.line) == ("f.sql", line)


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("CREATE STREAMING TABLE t FLOW REPLACE WHERE a BY NAME SELECT 1", "REPLACE WHERE flows"),
        ("CREATE FLOW f AS INSERT INTO t REPLACE WHERE a = 1 SELECT 1", "REPLACE WHERE flows"),
        ("CREATE SINK s USING kafka", "sinks"),
        ("CREATE TABLE t AS SELECT 1", "tables with a query"),
        ("CREATE FUNCTION f(a INT) RETURNS INT RETURN a", "functions in SQL files"),
        ("CREATE TEMPORARY FUNCTION f AS 'x'", "functions in SQL files"),
        ("CREATE STREAMING TABLE t (a INT MASK m) AS SELECT 1", "column masks"),
        ("CREATE STREAMING TABLE t (a INT GENERATED ALWAYS AS IDENTITY) AS SELECT 1", "identity"),
        (
            "CREATE STREAMING TABLE t (a INT GENERATED BY DEFAULT AS IDENTITY (START WITH 1)) AS SELECT 1",
            "identity",
        ),
        ("CREATE STREAMING TABLE t (a INT DEFAULT 1) AS SELECT 1", "default values"),
        ("CREATE STREAMING TABLE t (CONSTRAINT c CHECK (a > 0)) AS SELECT 1", "CHECK"),
        ("CREATE STREAMING TABLE t WITH ROW FILTER f ON (a) AS SELECT 1", "row filters"),
        ("CREATE MATERIALIZED VIEW t SCHEDULE EVERY 1 HOUR AS SELECT 1", "schedules"),
        ("INSERT INTO t SELECT 1", "INSERT declares nothing"),
        ("SELECT 1", "SELECT declares nothing"),
        ("DROP TABLE t", "DROP declares nothing"),
    ],
)
def test_what_cannot_be_done_yet_is_refused_by_name(text, feature):
    error = refused("\n" + text)
    assert error.condition == "UNSUPPORTED_FEATURE"
    assert feature in str(error)
    assert error.location.line == 2


def test_a_generated_column_is_a_column_and_its_expression():
    dataset, _ = one(
        "CREATE STREAMING TABLE t (a INT, `b c` DECIMAL(9, 2) NOT NULL GENERATED ALWAYS AS (f(a, ')') + 1)"
        " COMMENT 'x') AS SELECT 1 AS a"
    )
    assert dataset.schema == "`a` INT, `b c` DECIMAL(9, 2) NOT NULL COMMENT 'x'"
    (column,) = dataset.generated
    assert (column.name, column.type, column.expression) == (
        "b c",
        "DECIMAL(9, 2)",
        "f(a, ')') + 1",
    )


@pytest.mark.parametrize(
    "text", ["GENERATED", "GENERATED BY", "GENERATED ALWAYS", "GENERATED ALWAYS AS b"]
)
def test_half_a_generated_column_is_a_syntax_error(text):
    error = refused(f"CREATE STREAMING TABLE t (a INT {text}) AS SELECT 1")
    assert error.condition == "PARSE_SYNTAX_ERROR"


def test_an_expectation_that_is_no_expression_is_refused_at_its_line():
    error = refused("CREATE STREAMING TABLE t (\n  CONSTRAINT c EXPECT (a >)\n)")
    assert error.condition == "INVALID_EXPECTATION"
    assert error.location.line == 2


def test_a_parameters_value_cannot_end_the_statement():
    with pytest.raises(PipelineError, match="without ';'"):
        read("CREATE MATERIALIZED VIEW v AS SELECT ${x}", x="1; DROP TABLE t")


@given(st.text(alphabet="CREATE VIEWTBL(),;'=`${}\n-ASORT012", max_size=60))
def test_any_text_declares_something_or_is_refused_with_a_place(text: str):
    error = None
    try:
        declare(SqlText(text, "f.sql"), {})
    except PipelineError as refusal:
        error = refusal
    assert error is None or error.location is not None


def test_an_expectation_is_one_frozen_record():
    dataset, _ = one("CREATE STREAMING TABLE t (CONSTRAINT c EXPECT (a > 0)) AS SELECT 1")
    assert dataset.expectations == (
        Expectation("c", "a > 0", Violation.WARN, dataset.expectations[0].location),
    )


@pytest.mark.parametrize(
    "query", ["SELECT * FROM STREAM b", "WITH c AS (SELECT 1) SELECT * FROM STREAM b", "FROM b"]
)
@pytest.mark.parametrize("before", ["", "COMMENT 'c'", "(CONSTRAINT n EXPECT (id > 0))"])
def test_as_may_be_missing_before_the_query(before, query):
    _, flow = one(f"CREATE STREAMING TABLE t {before} {query}")
    assert flow.query.text == query


def test_a_row_filter_is_no_query():
    with pytest.raises(PipelineError, match="row filters"):
        read("CREATE STREAMING TABLE t WITH ROW FILTER f ON (id) AS SELECT * FROM STREAM b")


@pytest.mark.parametrize(
    ("use", "table", "schema"),
    [
        ("USE SCHEMA s", "s.a", ("s",)),
        ("USE DATABASE s", "s.a", ("s",)),
        ("USE s", "s.a", ("s",)),
        ("USE c.s", "c.s.a", ("c", "s")),
        ("USE CATALOG c; USE SCHEMA s", "c.s.a", ("c", "s")),
        ("USE `my s`", "`my s`.a", ("my s",)),
        ("USE CATALOG c", "a", ()),
    ],
)
def test_use_names_the_schema_of_what_stands_below_it(use, table, schema):
    text = f"CREATE STREAMING TABLE z; {use}; CREATE MATERIALIZED VIEW a AS SELECT * FROM z;"
    declarations = declare(SqlText(f"{text} CREATE STREAMING TABLE o.b", "f.sql"), {})
    assert [dataset.name for dataset in declarations.datasets] == ["z", table, "o.b"]
    (flow,) = declarations.flows
    assert (flow.name, flow.target, flow.query.schema) == (table, table, schema)


def test_use_says_where_flows_write_and_leaves_views_alone():
    text = """
        USE s; CREATE STREAMING TABLE a; CREATE TEMPORARY VIEW v AS SELECT 1;
        CREATE FLOW f AS INSERT INTO a BY NAME SELECT * FROM STREAM v
    """
    declarations = declare(SqlText(text, "f.sql"), {})
    assert [dataset.name for dataset in declarations.datasets] == ["s.a", "v"]
    assert [(flow.name, flow.target) for flow in declarations.flows] == [("v", "v"), ("f", "s.a")]


def test_use_of_too_much_is_a_syntax_error():
    with pytest.raises(PipelineError, match="expected the end of USE"):
        declare(SqlText("USE a b", "f.sql"), {})
