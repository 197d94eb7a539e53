"""The `spark` of pipeline files: plans without a server."""

import os

import pandas as pd
import pytest
from pyspark.errors import PySparkTypeError
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as t

from proa.errors import PipelineError
from proa.pipelines.ddl import parse_schema, parse_type
from proa.pipelines.declaring_session import DeclaringSession, relation_of

ANALYSIS = "ATTEMPT_ANALYSIS_IN_PIPELINE_QUERY_FUNCTION"
MUTATION = "SESSION_MUTATION_IN_DECLARATIVE_PIPELINE"


@pytest.fixture
def spark():
    session = DeclaringSession({"landing_zone": "/lz", "spark.sql.shuffle.partitions": "4"})
    with session.install():
        yield session


def test_the_installed_session_is_found_and_gone_afterwards():
    session = DeclaringSession()
    active, before = SparkSession.getActiveSession(), os.environ.get("SPARK_REMOTE")
    with session.install():
        assert SparkSession.getActiveSession() is session
        assert SparkSession.builder.config("a", "b").getOrCreate() is session
        inner = DeclaringSession()
        with inner.install():
            assert SparkSession.active() is inner
        assert SparkSession.active() is session
    assert SparkSession.getActiveSession() is active
    assert os.environ.get("SPARK_REMOTE") == before


def test_configuration_is_seen_and_defaults_are_honoured(spark):
    assert spark.conf.get("landing_zone") == "/lz"
    assert spark.conf.get("nothing", "fallback") == "fallback"
    assert spark.conf.get("nothing", None) is None
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"
    assert spark.conf.getAll["landing_zone"] == "/lz"
    with pytest.raises(PipelineError, match="landing_zone") as caught:
        spark.conf.get("nothing")
    assert caught.value.condition == "SQL_CONF_NOT_FOUND"
    assert caught.value.location.file == __file__


ANSWERS = {
    "collect": lambda s: s.range(3).collect(),
    "count": lambda s: s.range(3).count(),
    "show": lambda s: s.range(3).show(),
    "toPandas": lambda s: s.table("t").toPandas(),
    "columns": lambda s: s.table("t").columns,
    "schema": lambda s: s.table("t").schema,
    "first": lambda s: s.table("t").first(),
    "isEmpty": lambda s: s.table("t").isEmpty(),
    "explain": lambda s: s.table("t").explain(),
    "save": lambda s: s.table("t").write.save("/x"),
    "saveAsTable": lambda s: s.table("t").write.saveAsTable("x"),
    "start": lambda s: s.readStream.table("t").writeStream.start("/x"),
    "listTables": lambda s: s.catalog.listTables(),
}

MUTATIONS = {
    "SET_RUNTIME_CONF": lambda s: s.conf.unset("a"),
    "CREATE_OR_REPLACE_TEMP_VIEW": lambda s: s.table("t").createOrReplaceTempView("v"),
    "REGISTER_JAVA_UDF": lambda s: s.udf.registerJavaFunction("f", "C"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_needs_an_answer_is_refused_by_name_with_the_users_line(spark, name):
    with pytest.raises(PipelineError) as caught:
        ANSWERS[name](spark)
    assert caught.value.condition == ANALYSIS
    assert caught.value.location.file == __file__
    assert caught.value.location.line == ANSWERS[name].__code__.co_firstlineno


@pytest.mark.parametrize("kind", MUTATIONS)
def test_changing_the_session_is_refused(spark, kind):
    with pytest.raises(PipelineError) as caught:
        MUTATIONS[kind](spark)
    assert caught.value.condition == f"{MUTATION}.{kind}"
    assert caught.value.location.file == __file__


def test_an_analyzer_answers_for_schemas(spark):
    asked = []

    def analyze(relation):
        asked.append(relation.read.named_table.unparsed_identifier)
        return t.StructType().add("id", "long").add("name", "string")

    spark.analyzer = analyze
    assert spark.table("orders").columns == ["id", "name"]
    assert spark.table("orders").schema["id"].dataType == t.LongType()
    assert asked == ["orders", "orders"]


def test_streams_are_known_without_asking(spark):
    assert spark.readStream.table("t").filter("a > 1").isStreaming
    assert spark.readStream.format("cloudFiles").load("/x").isStreaming
    assert spark.sql("SELECT * FROM STREAM(t)").isStreaming
    assert not spark.table("t").join(spark.range(3), "id").isStreaming


def test_sql_keeps_the_text(spark):
    text = "-- a comment\n (SELECT * FROM t)"
    assert relation_of(spark.sql(text)).sql.query == text
    frame = spark.sql("SELECT * FROM {x} WHERE id > :low AND n = 1", {"low": 3}, x=spark.range(2))
    relation = relation_of(frame).with_relations
    assert relation.root.sql.named_arguments["low"].literal.integer == 3
    assert [kind.WhichOneof("rel_type") for kind in relation.references] == ["subquery_alias"]
    assert relation_of(spark.sql("SELECT ?", [1])).sql.pos_arguments[0].literal.integer == 1


@pytest.mark.parametrize("text", ["SET a=b", "DROP TABLE t", "INSERT INTO t VALUES (1)", ""])
def test_commands_are_refused(spark, text):
    with pytest.raises(PipelineError) as caught:
        spark.sql(text)
    assert caught.value.condition == "UNSUPPORTED_PIPELINE_SPARK_SQL_COMMAND"


def test_local_data_needs_no_server(spark):
    for frame in (
        spark.createDataFrame([(1, "a")], "id int, name string"),
        spark.createDataFrame([{"id": 1}]),
        spark.createDataFrame([(1, "a")], ["id", "name"]),
        spark.createDataFrame(pd.DataFrame({"id": [1, 2]})),
        spark.createDataFrame([], "id int"),
        spark.range(3),
    ):
        assert relation_of(frame).ByteSize() > 0
    with pytest.raises(PipelineError, match="not a column and its type"):
        spark.createDataFrame([], "id")


def test_user_functions_are_declared_without_a_server(spark):
    @F.udf("int")
    def plain(value):
        return value + 1

    @F.pandas_udf("double")
    def vectorised(values: pd.Series) -> pd.Series:
        return values * 2

    frame = spark.table("t").select(plain("a"), vectorised("b"))
    first, second = relation_of(frame).project.expressions
    assert first.common_inline_user_defined_function.python_udf.output_type.HasField("integer")
    assert second.common_inline_user_defined_function.python_udf.command


def test_pysparks_own_mistakes_stay_its_own(spark):
    with pytest.raises(PySparkTypeError):
        spark.table(3)


def test_columns_know_their_lines_even_if_pyspark_was_used_before_any_session():
    F.col("before")
    session = DeclaringSession()
    with session.install():
        relation = relation_of(session.table("t").select(F.col("a").alias("b")))
    site = relation.project.expressions[0].common.origin.python_origin.call_site
    assert site.startswith(__file__)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int", "int"),
        ("array<string>", "array<string>"),
        ("name string", "struct<name:string>"),
        ("date date, `a b` timestamp", "struct<date:date,a b:timestamp>"),
        ("a: map<string,array<int>>", "struct<a:map<string,array<int>>>"),
        ("a decimal(10,2), b decimal, c numeric(3)", None),
        ("a struct<b: struct<c: double>>", "struct<a:struct<b:struct<c:double>>>"),
        ("x interval day to second, y interval month", None),
        ("v variant, w binary, z timestamp_ntz, b boolean, s short", None),
    ],
)
def test_ddl_is_read_as_spark_reads_it(text, expected):
    found = parse_type(text)
    assert expected is None or found.simpleString() == expected
    if isinstance(found, t.StructType):
        again = ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in found)
        assert parse_schema(again) == found


def test_ddl_knows_nullability_and_comments():
    schema = parse_schema("id bigint NOT NULL COMMENT 'the key', name string")
    assert not schema["id"].nullable
    assert schema["id"].metadata == {"comment": "the key"}
    assert schema["name"].nullable


@pytest.mark.parametrize(
    "text", ["", "blabla", "a int,", "array<int", "map<int, boolean>>", "a b c"]
)
def test_wrong_ddl_is_quoted(text):
    with pytest.raises(PipelineError) as caught:
        parse_type(text)
    assert caught.value.condition == "PARSE_SYNTAX_ERROR"
    assert repr(text) in str(caught.value)
