"""Mistakes are found before anything runs, under Apache's names, with file and line."""

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from proa.errors import PipelineError, UserError
from proa.graph import FilesLeaf, TableLeaf
from proa.pipelines.definitions import DatasetKind, SinkPlace

FILES = "SELECT * FROM STREAM read_files('/landing/raw', format => 'json')"
ONE = "SELECT 1 AS id"


def fails(pipeline, condition, **arguments):
    """Build, and return the error, whose condition must be this one."""
    with pytest.raises(PipelineError) as caught:
        pipeline.build(**arguments)
    assert caught.value.condition == condition, str(caught.value)
    return caught.value


def test_an_unknown_upstream_is_named_with_the_nearest_name_and_the_line(pipeline):
    pipeline.streaming_table("orders", FILES)
    pipeline.materialized_view("sums", "SELECT *\nFROM ordrs")
    error = fails(pipeline, "TABLE_OR_VIEW_NOT_FOUND")
    assert "'ordrs'" in str(error)
    assert "did you mean 'orders'?" in str(error)
    assert str(error.location) == "pipeline.sql:2"


def test_an_unknown_upstream_in_python_is_found_at_its_line(pipeline):
    def query(spark):
        unrelated = 1
        assert unrelated
        return spark.table("nowhere")

    pipeline.materialized_view("sums", query)
    error = fails(pipeline, "TABLE_OR_VIEW_NOT_FOUND")
    assert error.location.file == __file__


def test_a_cycle_is_shown_in_full(pipeline):
    pipeline.materialized_view("a", "SELECT * FROM b")
    pipeline.view("b", "SELECT * FROM c")
    pipeline.materialized_view("c", "SELECT * FROM a")
    error = fails(pipeline, "PIPELINE_GRAPH_NOT_TOPOLOGICALLY_SORTED")
    assert "'a' reads 'b' reads 'c' reads 'a'" in str(error)


def test_a_cycle_of_views_is_found(pipeline):
    pipeline.materialized_view("t", ONE)
    pipeline.view("v", "SELECT * FROM w")
    pipeline.view("w", "SELECT * FROM v")
    fails(pipeline, "PIPELINE_GRAPH_NOT_TOPOLOGICALLY_SORTED")


def test_a_dataset_that_reads_itself_is_a_cycle(pipeline):
    pipeline.streaming_table("a", "SELECT * FROM STREAM a")
    fails(pipeline, "PIPELINE_GRAPH_NOT_TOPOLOGICALLY_SORTED")


def test_a_dataset_without_flow(pipeline):
    pipeline.streaming_table("t")
    fails(pipeline, "PIPELINE_DATASET_WITHOUT_FLOW")


def test_a_flow_without_dataset(pipeline):
    pipeline.streaming_table("orders", FILES)
    pipeline.flow("f", "order", FILES)
    assert "did you mean 'orders'?" in str(fails(pipeline, "TABLE_OR_VIEW_NOT_FOUND"))


def test_a_batch_query_for_a_streaming_table(pipeline):
    pipeline.streaming_table("t", ONE)
    fails(pipeline, "INVALID_FLOW_QUERY_TYPE.BATCH_RELATION_FOR_STREAMING_TABLE")


def test_a_streaming_query_for_a_materialized_view(pipeline):
    pipeline.materialized_view("t", FILES)
    fails(pipeline, "INVALID_FLOW_QUERY_TYPE.STREAMING_RELATION_FOR_MATERIALIZED_VIEW")


def test_a_streaming_query_for_a_once_flow(pipeline):
    pipeline.streaming_table("t")
    pipeline.flow("f", "t", FILES, once=True)
    fails(pipeline, "INVALID_FLOW_QUERY_TYPE.STREAMING_RELATION_FOR_ONCE_FLOW")


@pytest.mark.parametrize("kind", [DatasetKind.MATERIALIZED_VIEW, DatasetKind.TEMPORARY_VIEW])
def test_several_queries_for_one_view(pipeline, kind):
    pipeline.dataset("v", kind)
    pipeline.flow("f", "v", ONE)
    pipeline.flow("g", "v", ONE)
    pipeline.materialized_view("t", "SELECT * FROM v")
    fails(pipeline, "MATERIALIZED_VIEW_WITH_MULTIPLE_QUERIES")


def test_a_streaming_view_is_read_as_a_stream_and_a_batch_view_is_not(pipeline):
    pipeline.view("v", FILES)
    pipeline.materialized_view("t", "SELECT * FROM v")
    fails(pipeline, "INCOMPATIBLE_STREAMING_VIEW_READ")


def test_a_batch_view_is_not_read_as_a_stream(pipeline):
    pipeline.view("v", ONE)
    pipeline.streaming_table("t", "SELECT * FROM STREAM v")
    fails(pipeline, "INCOMPATIBLE_BATCH_VIEW_READ")


def test_a_materialized_view_is_no_stream(pipeline):
    pipeline.materialized_view("m", ONE)
    pipeline.streaming_table("t", "SELECT * FROM STREAM m")
    assert "rewritten" in str(fails(pipeline, "UNSUPPORTED_STREAMING_SOURCE"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("SELECT * FORM orders", 1),
        ("SELECT a,\nFROM (SELECT 1", 2),
        ("SELECT 'a", 1),
        ("INSERT INTO t VALUES (1)", 1),
        ("", 1),
        ("SELECT 1; SELECT 2", 1),
    ],
)
def test_a_syntax_error_has_its_line(pipeline, text, line):
    pipeline.materialized_view("t", text)
    assert fails(pipeline, "PARSE_SYNTAX_ERROR").location.line == line


@pytest.mark.parametrize("source", ["rate", "kafka", "socket", "kinesis"])
def test_a_source_that_two_regions_cannot_share_is_refused_by_name(pipeline, source):
    pipeline.streaming_table("t", lambda spark: spark.readStream.format(source).load())
    error = fails(pipeline, "UNSUPPORTED_STREAMING_SOURCE")
    assert repr(source) in str(error)
    assert "cloudFiles" in str(error)


def test_apaches_file_streams_are_read_by_the_auto_loader(pipeline):
    pipeline.streaming_table(
        "t",
        lambda spark: (
            spark.readStream.format("json")
            .schema("id int, name string")
            .option("maxFilesPerTrigger", 3)
            .load("/in/events")
        ),
    )
    (leaf,) = pipeline.build().flows[0].plan.leaves
    assert leaf == FilesLeaf(
        "files:events:0",
        "/in/events",
        {"cloudFiles.maxFilesPerTrigger": "3", "cloudFiles.format": "json"},
        "id int, name string",
    )


def test_tables_are_streaming_over_streams_and_materialized_otherwise(pipeline):
    pipeline.table("s", FILES)
    pipeline.table("m", "SELECT * FROM s")
    kinds = {name: node.dataset.kind for name, node in pipeline.build().datasets.items()}
    assert kinds == {"s": DatasetKind.STREAMING_TABLE, "m": DatasetKind.MATERIALIZED_VIEW}


@pytest.mark.parametrize(
    "name", ["orders", "ORDERS", "LIVE.orders", "sales.Orders", "main.sales.orders", "`orders`"]
)
def test_names_may_be_spelled_in_many_ways(pipeline, name):
    pipeline.materialized_view("orders", ONE)
    pipeline.materialized_view("t", f"SELECT * FROM {name}")
    pipeline.materialized_view("u", lambda spark: spark.read.table(name))
    graph = pipeline.build(catalog="main", database="sales")
    assert graph.datasets["t"].flows[0].upstream == ("orders",)
    assert graph.datasets["u"].flows[0].upstream == ("orders",)


def test_a_dataset_in_another_schema_is_its_own(pipeline):
    pipeline.materialized_view("orders", ONE)
    pipeline.materialized_view("other.orders", ONE)
    pipeline.materialized_view("t", "SELECT * FROM other.orders o JOIN orders USING (id)")
    graph = pipeline.build(catalog="main", database="sales")
    assert graph.datasets["t"].flows[0].upstream == ("other.orders", "orders")


def test_files_and_paths_that_are_no_datasets_are_left_alone(pipeline):
    pipeline.materialized_view("t", "SELECT * FROM parquet.`/data/x` JOIN csv.`s3://b/y`")
    pipeline.materialized_view("u", lambda spark: spark.read.format("parquet").load("/data/x"))
    graph = pipeline.build()
    assert [flow.plan.leaves for flow in graph.flows] == [(), ()]
    assert "parquet.`/data/x`" in graph.flows[0].plan.template.sql.query


def test_a_delta_path_is_a_leaf_unless_its_version_is_given(pipeline):
    pipeline.materialized_view("t", "SELECT * FROM delta.`s3://b/y`")
    pipeline.materialized_view("u", "SELECT * FROM delta.`s3://b/y` VERSION AS OF 3")
    pipeline.streaming_table("v", lambda spark: spark.readStream.format("delta").load("/data/y"))
    pipeline.materialized_view(
        "w", lambda spark: spark.read.format("delta").option("versionAsOf", 1).load("/data/y")
    )
    assert [flow.plan.leaves for flow in pipeline.build().flows] == [
        (TableLeaf("table:delta:y:0", "s3://b/y", streaming=False),),
        (),
        (TableLeaf("stream:delta:y:0", "/data/y", streaming=True),),
        (),
    ]


def test_views_are_not_stored_but_their_upstream_counts(pipeline):
    pipeline.streaming_table("bronze", FILES)
    pipeline.view("v", "SELECT * FROM STREAM bronze")
    pipeline.view("w", "SELECT * FROM STREAM v")
    pipeline.streaming_table("silver", "SELECT * FROM STREAM w")
    graph = pipeline.build()
    (silver,) = graph.datasets["silver"].flows
    assert (silver.reads, silver.upstream) == (("w",), ("bronze",))
    assert graph.stages == (("bronze",), ("silver",))
    assert [flow.target for flow in graph.flows] == ["bronze", "silver"]
    assert graph.tables == ("bronze", "silver")


def test_user_code_finds_the_session_wherever_it_looks(pipeline):
    def query(spark):
        assert SparkSession.getActiveSession() is spark
        assert SparkSession.builder.appName("x").getOrCreate() is spark
        return SparkSession.active().range(3).select(F.lit(1).alias("one"))

    before = SparkSession.getActiveSession()
    pipeline.materialized_view("t", query)
    pipeline.build()
    assert SparkSession.getActiveSession() is before


def test_an_exception_in_a_query_function_names_function_and_line(pipeline):
    def query(_spark):
        return {}["missing"]

    pipeline.materialized_view("t", query)
    error = fails(pipeline, "QUERY_FUNCTION_FAILED")
    assert "'t' raised KeyError: 'missing'" in str(error)
    assert error.location.line == query.__code__.co_firstlineno + 1


def test_a_query_function_must_return_a_dataframe(pipeline):
    pipeline.materialized_view("t", lambda _spark: None)
    assert "NoneType" in str(fails(pipeline, "NOT_EXPECTED_TYPE"))


def test_asking_for_rows_is_refused_with_the_line(pipeline):
    pipeline.materialized_view("t", lambda spark: spark.range(spark.range(3).count()))
    error = fails(pipeline, "ATTEMPT_ANALYSIS_IN_PIPELINE_QUERY_FUNCTION")
    assert "'count'" in str(error)
    assert error.location.file == __file__


def test_columns_are_refused_without_an_engine(pipeline):
    pipeline.materialized_view("m", ONE)
    pipeline.materialized_view("t", lambda spark: spark.table("m").select(spark.table("m").columns))
    fails(pipeline, "ATTEMPT_ANALYSIS_IN_PIPELINE_QUERY_FUNCTION")


def test_columns_are_known_through_datasets_views_and_files(pipeline, engine):
    seen = {}

    def query(spark):
        frame = spark.readStream.table("v")
        seen["columns"] = frame.columns
        seen["types"] = [field.dataType.simpleString() for field in frame.schema]
        return frame.select([F.col(name).alias(name.upper()) for name in frame.columns])

    pipeline.streaming_table("silver", query)
    pipeline.view("v", "SELECT id + 1 AS next, name FROM STREAM bronze")
    pipeline.streaming_table(
        "bronze",
        lambda spark: (
            spark.readStream.format("cloudFiles").schema("id bigint, name string").load("/in/x")
        ),
    )
    pipeline.materialized_view(
        "sums", lambda spark: spark.table("silver").groupBy("NAME").sum("NEXT")
    )
    graph = pipeline.build(analyze=engine.schema)
    assert seen == {"columns": ["next", "name"], "types": ["bigint", "string"]}
    assert graph.stages == (("bronze",), ("silver",), ("sums",))


def test_asking_a_dataset_for_its_own_columns_is_a_cycle(pipeline, engine):
    def query(spark):
        frame = spark.table("t")
        return frame.select(frame.columns)

    pipeline.materialized_view("t", query)
    fails(pipeline, "PIPELINE_GRAPH_NOT_TOPOLOGICALLY_SORTED", analyze=engine.schema)


def test_a_selection_names_tables_in_any_spelling(pipeline):
    pipeline.streaming_table("a", FILES)
    pipeline.materialized_view("b", "SELECT * FROM a")
    graph = pipeline.build(catalog="main", database="sales")
    selected = graph.select(["sales.B"], ["LIVE.a"])
    assert selected.tables == {"a", "b"}
    assert selected.full_refresh == {"a"}
    assert graph.select().tables == {"a", "b"}
    assert graph.select(full_refresh_all=True).full_refresh == {"a", "b"}


def test_a_table_that_must_not_be_reset_is_left_alone_or_refused(pipeline):
    pipeline.streaming_table("a", FILES, properties={"pipelines.reset.allowed": "false"})
    pipeline.materialized_view("b", "SELECT * FROM a")
    graph = pipeline.build()
    assert graph.select(full_refresh_all=True).full_refresh == {"b"}
    with pytest.raises(UserError) as caught:
        graph.select(full_refresh=["a"])
    assert caught.value.condition == "TABLE_NOT_RESETTABLE"


@pytest.mark.parametrize(
    ("arguments", "condition"),
    [
        ({"refresh": ["nope"]}, "TABLE_OR_VIEW_NOT_FOUND"),
        ({"refresh": ["v"]}, "INVALID_SELECTION"),
        ({"refresh": ["a"], "full_refresh": ["a"]}, "INVALID_SELECTION"),
        ({"refresh": ["a"], "full_refresh_all": True}, "INVALID_SELECTION"),
    ],
)
def test_a_wrong_selection_is_refused(pipeline, arguments, condition):
    pipeline.streaming_table("a", FILES)
    pipeline.view("v", "SELECT * FROM a")
    with pytest.raises(UserError) as caught:
        pipeline.build().select(**arguments)
    assert caught.value.condition == condition


def with_sink(pipeline, query: str = "SELECT * FROM STREAM t", **fields: object) -> None:
    pipeline.streaming_table("t", FILES)
    pipeline.dataset("s", DatasetKind.SINK, sink=SinkPlace("delta"), path="/out")
    pipeline.flow("f", "s", query, **fields)


def test_a_sink_is_no_table_and_flows_feed_it(pipeline):
    with_sink(pipeline, to_sink=True)
    graph = pipeline.build()
    assert (graph.tables, graph.targets) == (("t",), ("t", "s"))
    assert graph.stages == (("t",), ("s",))
    assert graph.select().tables == {"t", "s"}
    assert graph.select(["s"]).tables == {"s"}


def test_a_sink_is_fed_by_streams(pipeline):
    with_sink(pipeline, ONE)
    error = fails(pipeline, "INVALID_FLOW_QUERY_TYPE.BATCH_RELATION_FOR_STREAMING_TABLE")
    assert "the sink 's'" in str(error)
    assert "materialized view" not in str(error)


def test_nothing_reads_a_sink(pipeline):
    with_sink(pipeline)
    pipeline.materialized_view("m", "SELECT * FROM s")
    assert "is a sink" in str(fails(pipeline, "TABLE_OR_VIEW_NOT_FOUND"))


def test_a_sink_without_flow_is_refused(pipeline):
    pipeline.streaming_table("t", FILES)
    pipeline.dataset("s", DatasetKind.SINK, sink=SinkPlace("delta"), path="/out")
    fails(pipeline, "PIPELINE_DATASET_WITHOUT_FLOW")


def test_an_update_flow_writes_to_a_sink_only(pipeline):
    pipeline.streaming_table("t")
    pipeline.flow("f", "t", FILES, to_sink=True)
    fails(pipeline, "UPDATE_FLOW_TARGET_IS_NOT_A_SINK")


def test_a_table_that_a_sink_names_must_be_known(pipeline):
    pipeline.streaming_table("t", FILES)
    place = SinkPlace("delta", {"tablename": "main.lake.out"})
    pipeline.dataset("s", DatasetKind.SINK, sink=place)
    pipeline.flow("f", "s", "SELECT * FROM STREAM t")
    error = fails(pipeline, "TABLE_OR_VIEW_NOT_FOUND")
    assert "main.lake.out: /path/of/the/delta/table" in str(error)


def test_a_flow_depends_on_flows_that_are_there(pipeline):
    with_sink(pipeline, depends_on=("sed",))
    pipeline.flow("seed", "s", ONE, once=True)
    assert "did you mean 'seed'?" in str(fails(pipeline, "FLOW_NOT_FOUND"))


@pytest.mark.parametrize("before", [("f",), ("g",), ("downstream",)])
def test_flows_do_not_wait_for_one_another_in_a_circle(pipeline, before):
    pipeline.streaming_table("t")
    pipeline.flow("f", "t", FILES, depends_on=before)
    pipeline.flow("g", "t", FILES, depends_on=("f",))
    pipeline.streaming_table("u")
    pipeline.flow("downstream", "u", "SELECT * FROM STREAM t")
    error = fails(pipeline, "PIPELINE_GRAPH_NOT_TOPOLOGICALLY_SORTED")
    assert "wait" in str(error)
