"""Plans are bound to data and computed by a real engine."""

from typing import Any

import pytest
from pyspark.sql import functions as F

from proa.engine import Engine
from proa.engine.relations import relation_of
from proa.errors import PipelineError, UserError
from proa.graph import DatasetLeaf, FilesLeaf, plan_proto


def local(engine: Engine, rows: list[tuple[Any, ...]], schema: str) -> Any:
    return relation_of(engine.spark.createDataFrame(rows, schema))


@pytest.fixture
def compute(engine, pipeline):
    """Bind the flow of a dataset to rows and compute it."""

    def run(name: str, data: dict[str, tuple[list[tuple[Any, ...]], str]]) -> list[tuple[Any, ...]]:
        plan = pipeline.build().datasets[name].flows[0].plan
        bound = {key: local(engine, *value) for key, value in data.items()}
        rows = engine.arrow(engine.dataframe(plan.bind(bound))).to_pylist()
        return sorted(tuple(row.values()) for row in rows)

    return run


ORDERS = ([(1, "a", 10), (2, "b", 20), (3, "a", 30)], "id int, who string, amount int")
PEOPLE = ([("a", "Ann"), ("b", "Ben")], "who string, name string")


def orders_and_people(pipeline):
    pipeline.streaming_table(
        "orders", "SELECT * FROM STREAM read_files('/landing/orders', format => 'json')"
    )
    pipeline.materialized_view("people", lambda spark: spark.read.parquet("/dim/people"))


def test_a_dataframe_reads_what_its_leaves_are_bound_to(pipeline, compute):
    orders_and_people(pipeline)

    def query(spark):
        orders = spark.readStream.table("orders")
        people = spark.read.table("people")
        return orders.join(people, orders["who"] == people["who"]).select(
            orders.id, F.col("people.name"), orders["amount"]
        )

    pipeline.streaming_table("named", query)
    got = compute("named", {"stream:orders:0": ORDERS, "table:people:0": PEOPLE})
    assert got == [(1, "Ann", 10), (2, "Ben", 20), (3, "Ann", 30)]


def test_sql_reads_what_its_leaves_are_bound_to_and_keeps_its_table_names(pipeline, compute):
    orders_and_people(pipeline)
    pipeline.streaming_table(
        "named",
        """
        -- FROM people is a comment
        WITH recent AS (SELECT * FROM STREAM(LIVE.orders))
        SELECT recent.id, people.name, ' FROM people ' AS text
        FROM recent JOIN LIVE.people ON recent.who = people.who AND live.people.name <> 'x';
        """,
    )
    got = compute("named", {"stream:orders:0": ORDERS, "table:people:0": PEOPLE})
    text = " FROM people "
    assert got == [(1, "Ann", text), (2, "Ben", text), (3, "Ann", text)]


def test_a_view_used_twice_is_inlined_twice_over_one_leaf(pipeline, compute):
    orders_and_people(pipeline)

    def big(spark):
        orders = spark.table("orders")
        return orders.filter(orders["amount"] > 10)

    pipeline.view("big", big)

    def query(spark):
        left, right = spark.table("big"), spark.table("big")
        return left.join(right, left["who"] != right["who"]).select(
            left["id"], right["id"].alias("other")
        )

    pipeline.materialized_view("pairs", query)
    assert compute("pairs", {"table:orders:0": ORDERS}) == [(2, 3), (3, 2)]


def test_a_sql_view_is_inlined_into_sql(pipeline, compute):
    orders_and_people(pipeline)
    pipeline.view("big", "SELECT * FROM orders o WHERE o.amount > 10")
    pipeline.materialized_view(
        "counted",
        "SELECT who, count(*) AS n FROM big WHERE id IN (SELECT b.id FROM big b) GROUP BY who",
    )
    assert compute("counted", {"table:orders:0": ORDERS}) == [("a", 1), ("b", 1)]


def test_spark_sql_with_dataframes_as_arguments(pipeline, compute):
    orders_and_people(pipeline)

    def query(spark):
        people = spark.table("people").filter("name <> 'Ben'")
        return spark.sql("SELECT o.id FROM orders o JOIN {p} p ON p.who = o.who", p=people)

    pipeline.materialized_view("ids", query)
    assert compute("ids", {"table:orders:0": ORDERS, "table:people:0": PEOPLE}) == [(1,), (3,)]


def test_a_subquery_in_an_expression_has_leaves_too(pipeline, compute):
    orders_and_people(pipeline)

    def query(spark):
        orders = spark.table("orders")
        top = orders.select(F.max("amount")).scalar()
        return orders.select("id", (top - F.col("amount")).alias("below"))

    pipeline.materialized_view("below", query)
    assert compute("below", {"table:orders:0": ORDERS}) == [(1, 20), (2, 10), (3, 0)]


def test_user_functions_travel_with_the_plan(pipeline, compute):
    orders_and_people(pipeline)

    def query(spark):
        double = F.udf(lambda value: value * 2, "int")
        return spark.table("orders").select(double("amount").alias("twice"))

    pipeline.materialized_view("twice", query)
    assert compute("twice", {"table:orders:0": ORDERS}) == [(20,), (40,), (60,)]


def test_leaves_say_what_is_read_and_how(pipeline):
    orders_and_people(pipeline)
    pipeline.streaming_table(
        "both", "SELECT * FROM STREAM orders JOIN people USING (who) JOIN orders o2 USING (id)"
    )
    pipeline.streaming_table(
        "files",
        lambda spark: (
            spark.readStream.format("cloudFiles")
            .option("cloudFiles.format", "csv")
            .option("header", "true")
            .load("s3://b/in/*.csv")
        ),
    )
    graph = pipeline.build()
    assert graph.datasets["both"].flows[0].plan.leaves == (
        DatasetLeaf("stream:orders:0", "orders", streaming=True),
        DatasetLeaf("table:people:0", "people", streaming=False),
        DatasetLeaf("table:orders:0", "orders", streaming=False),
    )
    assert graph.datasets["files"].flows[0].plan.leaves == (
        FilesLeaf("files:in:0", "s3://b/in/*.csv", {"cloudFiles.format": "csv", "header": "true"}),
    )
    assert graph.datasets["orders"].flows[0].plan.leaves == (
        FilesLeaf(
            "files:orders:0",
            "/landing/orders",
            {"cloudFiles.format": "json", "cloudFiles.inferColumnTypes": "true"},
        ),
    )
    assert graph.stages == (("orders", "people", "files"), ("both",))


FILES = (
    [(1, ("x.json", "/l/x.json")), (2, ("y.json", "/l/y.json"))],
    "id int, _metadata struct<file_name: string, file_path: string>",
)

METADATA_SQL = {
    "SELECT *, _metadata.file_name FROM STREAM read_files('/l')": [(1, "x.json"), (2, "y.json")],
    "SELECT f._metadata.file_name AS n, f.* FROM STREAM read_files('/l') f": [
        ("x.json", 1),
        ("y.json", 2),
    ],
    "SELECT id FROM STREAM read_files('/l') WHERE _metadata.file_name = 'y.json'": [(2,)],
    "SELECT id, right(input_file_name(), 6) AS n FROM STREAM read_files('/l')": [
        (1, "x.json"),
        (2, "y.json"),
    ],
    "SELECT id FROM STREAM read_files('/l') WHERE INPUT_FILE_NAME() LIKE '%y.json'": [(2,)],
    "SELECT id, '_metadata' AS t FROM STREAM read_files('/l') WHERE _metadata IS NOT NULL": [
        (1, "_metadata"),
        (2, "_metadata"),
    ],
}


def files(spark):
    return spark.readStream.format("cloudFiles").option("cloudFiles.format", "json").load("/l")


def by_dataframe(frame):
    return frame.select(frame["id"], frame["_metadata"]["file_name"])


METADATA_FRAMES = {
    "select": lambda s: files(s).select("*", "_metadata.file_name"),
    "col": lambda s: files(s).select("*", F.col("_metadata.file_name").alias("n")),
    "withColumn": lambda s: files(s).withColumn("n", F.col("_metadata.file_name")),
    "expression": lambda s: files(s).selectExpr("*", "_metadata.file_name AS n"),
    "used twice": lambda s: (
        files(s)
        .withColumn("n", F.col("_metadata.file_name"))
        .filter(F.col("_metadata.file_path").isNotNull())
    ),
    "alias": lambda s: files(s).alias("f").select("f.id", "f._metadata.file_name"),
    "df column": lambda s: by_dataframe(files(s)),
    "behind a projection": lambda s: (
        files(s).select("id").where("id > 0").withColumn("n", F.col("_metadata.file_name"))
    ),
    "{df}": lambda s: s.sql("SELECT *, _metadata.file_name FROM {f}", f=files(s)),
    "input_file_name": lambda s: (
        files(s).select("id").withColumn("n", F.substring(F.input_file_name(), 4, 9))
    ),
    "input_file_name in text": lambda s: files(s).selectExpr("id", "substr(input_file_name(), 4)"),
}


@pytest.mark.parametrize("text", METADATA_SQL)
def test_metadata_is_hidden_from_star_in_sql(pipeline, compute, text):
    pipeline.streaming_table("t", text)
    (leaf,) = pipeline.build().flows[0].plan.leaves
    assert leaf.options["proa.metadata"] == ("*" if "IS NOT NULL" in text else "true")
    assert compute("t", {leaf.key: FILES}) == METADATA_SQL[text]


@pytest.mark.parametrize("query", METADATA_FRAMES.values(), ids=METADATA_FRAMES.keys())
def test_metadata_is_hidden_from_star_in_dataframes(pipeline, compute, query):
    pipeline.streaming_table("t", query)
    (leaf,) = pipeline.build().flows[0].plan.leaves
    assert leaf.options["proa.metadata"] == "true"
    assert compute("t", {leaf.key: FILES}) == [(1, "x.json"), (2, "y.json")]


def test_the_whole_of_metadata_can_be_selected(pipeline, engine):
    pipeline.streaming_table("t", lambda s: files(s).select("*", "_metadata"))
    pipeline.streaming_table("u", "SELECT *, _metadata FROM STREAM read_files('/l')")
    graph = pipeline.build()
    for name in ("t", "u"):
        plan = graph.datasets[name].flows[0].plan
        bound = plan.bind({plan.leaves[0].key: local(engine, *FILES)})
        assert engine.schema(bound).names == ["id", "_metadata"]


BEHIND_OTHER_ROWS = {
    "distinct": lambda s: batch(s).select("id").distinct().withColumn("n", F.input_file_name()),
    "dropDuplicates": lambda s: batch(s).dropDuplicates(["id"]).select("_metadata.file_name"),
    "aggregation": lambda s: batch(s).groupBy("id").count().selectExpr("input_file_name()"),
}


def batch(spark):
    return spark.read.format("json").load("/l")


@pytest.mark.parametrize("query", BEHIND_OTHER_ROWS.values(), ids=BEHIND_OTHER_ROWS.keys())
def test_metadata_is_not_there_behind_rows_that_are_not_those_of_files(pipeline, engine, query):
    pipeline.materialized_view("t", query)
    plan = pipeline.build().flows[0].plan
    (leaf,) = plan.leaves
    assert "proa.metadata" not in leaf.options
    bound = plan.bind({leaf.key: local(engine, [(1,), (2,)], "id int")})
    with pytest.raises(UserError, match=r"'_metadata\.|_metadata\.file_path"):
        engine.schema(bound)


def test_metadata_that_was_selected_is_a_column_as_any_other(pipeline, compute):
    pipeline.materialized_view(
        "t",
        lambda s: batch(s).select("id", "_metadata").distinct().select("id", "_metadata.file_name"),
    )
    (leaf,) = pipeline.build().flows[0].plan.leaves
    assert compute("t", {leaf.key: FILES}) == [(1, "x.json"), (2, "y.json")]


PLACES = {
    "col": (lambda s: files(s).select("id", F.col("_metadata.shipment")), "shipment"),
    "brackets": (lambda s: files(s).select(F.col("_metadata")["row_index"]), "row_index"),
    "alias": (lambda s: files(s).alias("f").select("f._METADATA.Shipped_At"), "shipped_at"),
    "text": (lambda s: files(s).selectExpr("_metadata.file_index", "1"), "file_index"),
    "filter": (lambda s: files(s).where("_metadata.shipment > 7").select("id"), "shipment"),
    "df": (lambda s: s.sql("SELECT f._metadata.shipment FROM {f} f", f=files(s)), "shipment"),
    "two": (
        "SELECT _metadata.row_index, f._metadata.`shipment` AS n FROM STREAM read_files('/l') f",
        "row_index,shipment",
    ),
    "whole": ("SELECT *, _metadata FROM STREAM read_files('/l')", "*"),
    "whole column": (lambda s: files(s).select("*", "_metadata"), "*"),
    "renamed": ("SELECT m.shipment FROM (SELECT _metadata m FROM STREAM read_files('/l'))", "*"),
    "Spark's": (lambda s: files(s).select(F.col("_metadata")["file_size"]), "true"),
    "a string": (
        "SELECT '_metadata.shipment', _metadata.file_name FROM STREAM read_files('/l')",
        "true",
    ),
}


@pytest.mark.parametrize(("query", "asked"), PLACES.values(), ids=PLACES.keys())
def test_files_yield_the_places_of_rows_that_a_query_asks_for(pipeline, query, asked):
    pipeline.streaming_table("t", query)
    (leaf,) = pipeline.build().flows[0].plan.leaves
    assert leaf.options["proa.metadata"] == asked


NAMED_BY_THE_FUNCTION = {
    "dataframe": lambda s: files(s).select("id", F.input_file_name()),
    "text": lambda s: files(s).selectExpr("id", "input_file_name()"),
    "sql": "SELECT id, input_file_name() FROM STREAM read_files('/l')",
    "sql, first": "SELECT input_file_name(), id FROM (SELECT * FROM STREAM read_files('/l'))",
    "sql, nested": "SELECT * FROM (SELECT id, input_file_name() FROM STREAM read_files('/l'))",
}


@pytest.mark.parametrize("query", NAMED_BY_THE_FUNCTION.values(), ids=NAMED_BY_THE_FUNCTION.keys())
def test_input_file_name_without_a_name_is_called_as_spark_calls_it(pipeline, engine, query):
    pipeline.streaming_table("t", query)
    plan = pipeline.build().flows[0].plan
    bound = plan.bind({plan.leaves[0].key: local(engine, *FILES)})
    assert set(engine.schema(bound).names) == {"id", "input_file_name()"}


def test_files_are_not_asked_for_metadata_that_nobody_wants(pipeline):
    pipeline.streaming_table("t", lambda s: files(s).select("id", F.lit("_metadata")))
    pipeline.streaming_table("u", "SELECT '_metadata' AS m, * FROM STREAM read_files('/l')")
    for flow in pipeline.build().flows:
        assert "proa.metadata" not in flow.plan.leaves[0].options


SQL_SHAPES = {
    "SELECT o.id FROM orders TABLESAMPLE (100 PERCENT) o": [(1,), (2,), (3,)],
    "SELECT orders.id FROM orders TABLESAMPLE (100 PERCENT)": [(1,), (2,), (3,)],
    "TABLE orders;": [(1, "a", 10), (2, "b", 20), (3, "a", 30)],
    "SELECT orders.id, x FROM orders LATERAL VIEW explode(array(7)) v AS x": [
        (1, 7),
        (2, 7),
        (3, 7),
    ],
    "SELECT LIVE.orders.id FROM LIVE.orders WHERE live.orders.amount > 10": [(2,), (3,)],
    "SELECT who FROM orders UNION SELECT who FROM people": [("a",), ("b",)],
    "SELECT p.name FROM people p WHERE EXISTS (SELECT 1 FROM orders WHERE orders.who = p.who"
    " AND orders.amount > 20)": [("Ann",)],
    "WITH orders AS (SELECT 5 AS id) SELECT id FROM orders": [(5,)],
    "WITH big AS (SELECT * FROM orders WHERE amount > 10), orders AS (SELECT 1 AS one)"
    " SELECT big.id FROM big JOIN orders ON TRUE": [(2,), (3,)],
    "SELECT (SELECT max(amount) FROM orders) - amount AS below FROM orders": [(0,), (10,), (20,)],
    "SELECT a.id, b.id AS other FROM orders a JOIN orders b ON a.id < b.id AND a.who = b.who": [
        (1, 3)
    ],
    "SELECT id FROM (SELECT * FROM (orders)) x WHERE id NOT IN (SELECT 1)": [(2,), (3,)],
    "SELECT `orders`.`id` FROM `orders` -- FROM people": [(1,), (2,), (3,)],
    "SELECT id FROM orders WHERE who = ' STREAM(people) '": [],
}


@pytest.mark.parametrize("text", SQL_SHAPES)
def test_sql_of_every_shape_is_computed(pipeline, compute, text):
    orders_and_people(pipeline)
    pipeline.materialized_view("t", text)
    graph = pipeline.build()
    data = {"table:orders:0": ORDERS, "table:people:0": PEOPLE}
    keys = {leaf.key for leaf in graph.datasets["t"].flows[0].plan.leaves}
    assert compute("t", {key: data[key] for key in keys}) == SQL_SHAPES[text]


def test_views_of_views_in_sql_and_dataframes_are_inlined_together(pipeline, compute):
    orders_and_people(pipeline)
    pipeline.view("a", "SELECT *, amount * 2 AS twice FROM STREAM orders")
    pipeline.view("b", lambda s: s.readStream.table("a").filter("twice > 20"))
    pipeline.view("c", "SELECT b.id, p.name FROM STREAM b JOIN people p USING (who)")

    def query(spark):
        left, right = spark.readStream.table("c"), spark.readStream.table("b")
        return left.select("id").union(right.select(right["id"]))

    pipeline.streaming_table("t", query)
    data = {"stream:orders:0": ORDERS, "table:people:0": PEOPLE}
    assert compute("t", data) == [(2,), (2,), (3,), (3,)]


def test_a_plan_can_be_bound_again_and_again(pipeline, engine):
    orders_and_people(pipeline)
    pipeline.materialized_view("t", "SELECT count(*) AS n FROM orders")
    plan = pipeline.build().datasets["t"].flows[0].plan
    before = plan.template.SerializeToString(deterministic=True)
    for count in (0, 1, 3):
        rows = local(engine, ORDERS[0][:count], ORDERS[1])
        table = engine.arrow(engine.dataframe(plan.bind({"table:orders:0": rows})))
        assert table.to_pylist() == [{"n": count}]
    assert plan.template.SerializeToString(deterministic=True) == before
    with pytest.raises(KeyError):
        plan.bind({})


def test_plan_ids_are_unique_in_a_bound_plan(pipeline, engine):
    orders_and_people(pipeline)
    pipeline.view("v", "SELECT * FROM orders")
    pipeline.materialized_view(
        "t", lambda s: s.table("v").union(s.table("v")).union(s.table("orders"))
    )
    plan = pipeline.build().datasets["t"].flows[0].plan
    bound = plan.bind({"table:orders:0": local(engine, *ORDERS)})
    ids = [node.common.plan_id for node in plan_proto.relations(bound)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        (lambda s: s.table("orders").filter("id >"), "PARSE_SYNTAX_ERROR"),
        (lambda s: s.table("orders").selectExpr("(SELECT 1 FROM people) x"), "UNSUPPORTED_SUB"),
        (lambda s: s.sql("SELECT FROM WHERE"), "PARSE_SYNTAX_ERROR"),
    ],
)
def test_sql_inside_of_dataframes_is_checked_at_its_line(pipeline, query, condition):
    orders_and_people(pipeline)
    pipeline.materialized_view("t", query)
    with pytest.raises(PipelineError) as caught:
        pipeline.build()
    assert caught.value.condition.startswith(condition)
    assert caught.value.location.file == __file__


def test_leaf_keys_do_not_depend_on_where_a_region_keeps_its_files(pipeline):
    def two(zone):
        return lambda s: files_of(s, f"{zone}/a/orders/*.json").unionByName(
            files_of(s, f"{zone}/b/orders/")
        )

    def files_of(spark, path):
        return spark.readStream.format("cloudFiles").load(path)

    pipeline.streaming_table("t", two("/east"))
    pipeline.streaming_table("u", two("s3://west/zone"))
    keys = [[leaf.key for leaf in flow.plan.leaves] for flow in pipeline.build().flows]
    assert keys[0] == ["files:orders:0", "files:orders:1"]
    assert keys[1] == ["files:orders:0", "files:orders:1"]
