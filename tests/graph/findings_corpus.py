"""Queries and the findings that they must yield: those, and no others.

The tables: `events` (a streaming table of files, with the primary key `id`, a time, a double `price`,
a decimal `amount`), `raw` (the same rows, without a key), `people` (a materialized view, one row per
`who`).
"""

import datetime as dt
import random  # noqa: TID251 - what must be found
import time
import uuid

from pyspark.sql import Window
from pyspark.sql import functions as F
from pyspark.sql import types as t

SCHEMA = (
    "id bigint, ts timestamp, who string, price double, amount decimal(18,2), n int,"
    " tags array<string>, nested struct<temp: double, level: int>"
)

SQL: list[tuple[str, str]] = [
    # clocks
    ("SELECT id, current_timestamp() AS at FROM events", "CLOCK"),
    ("SELECT id, now() AS at FROM events", "CLOCK"),
    ("SELECT id FROM events WHERE ts > current_date - INTERVAL 7 DAYS", "CLOCK"),
    ("SELECT id, unix_timestamp() AS at FROM events", "CLOCK"),
    ("SELECT id, datediff(current_date(), ts) AS age FROM events", "CLOCK"),
    ("SELECT id, localtimestamp() FROM events", "CLOCK"),
    ("SELECT id, localtime() FROM events", "CLOCK"),
    ("SELECT timestamp'now' AS at, id FROM events", "CLOCK"),
    ("SELECT id, unix_timestamp(ts) AS at FROM events", ""),
    ("SELECT id, to_date(ts), date_trunc('hour', ts), year(ts) FROM events", ""),
    ("SELECT e.user, e.version, e.`current_date`, rand, uuid FROM events e", ""),
    ("SELECT 'now' AS word, 'current_timestamp()' AS text FROM events", ""),
    ("SELECT id AS now, ts AS current_date FROM events -- now()", ""),
    # chance
    ("SELECT uuid() AS key, id FROM events", "RANDOM"),
    ("SELECT rand() AS r, id FROM events", "RANDOM"),
    ("SELECT rand(42) AS r, id FROM events", "RANDOM"),
    ("SELECT monotonically_increasing_id() AS k, id FROM events", "RANDOM"),
    ("SELECT shuffle(tags) AS t FROM events", "RANDOM"),
    ("SELECT * FROM events TABLESAMPLE (10 PERCENT)", "RANDOM"),
    ("SELECT spark_partition_id() AS p FROM events", "RANDOM"),
    ("SELECT sha2(concat_ws('|', who, ts), 256) AS key, md5(who), xxhash64(id) FROM events", ""),
    ("SELECT e.id, r.x FROM events e, LATERAL (SELECT rand() AS x) r", "RANDOM"),
    # environment
    ("SELECT current_user() AS me, id FROM events", "ENVIRONMENT"),
    ("SELECT version() AS v, id FROM events", "ENVIRONMENT"),
    ("SELECT input_file_name() AS f, id FROM events", "REGION_METADATA"),
    ("SELECT _metadata.file_path AS f, id FROM STREAM read_files('/in', schema => 'id int')", "REGION_METADATA"),
    ("SELECT _metadata.file_modification_time, id FROM STREAM read_files('/in', schema => 'id int')", "REGION_METADATA"),
    ("SELECT *, _metadata FROM STREAM read_files('/in', schema => 'id int')", "REGION_METADATA"),
    ("SELECT _metadata.file_name, _metadata.file_size FROM STREAM read_files('/in', schema => 'id int')", ""),
    ("SELECT regexp_extract(_metadata.file_path, '[^/]+$', 0) FROM STREAM read_files('/in', schema => 'id int')", ""),
    ("SELECT id, _metadata.shipped_at, _metadata.shipment, _metadata.row_index FROM STREAM read_files('/in', schema => 'id int')", ""),
    ("SELECT * FROM read_files('/in', schema => 'id int, n int') QUALIFY row_number() OVER (PARTITION BY id ORDER BY n, _metadata.shipment) = 1", "TIES_IN_WINDOW"),
    ("SELECT * FROM read_files('/in', schema => 'id int, n int') QUALIFY row_number() OVER (PARTITION BY id ORDER BY n, _metadata.shipment, _metadata.file_index, _metadata.row_index) = 1", ""),
    ("SELECT * FROM (SELECT *, _metadata.shipment AS s, _metadata.file_index AS f, _metadata.row_index AS r FROM read_files('/in', schema => 'id int, n int')) QUALIFY rank() OVER (ORDER BY n, s, f, r) < 9", ""),
    ("SELECT * FROM read_files('/in', schema => 'shipment int, file_index int, row_index int') ORDER BY shipment, file_index, row_index LIMIT 3", "LIMIT_WITHOUT_TOTAL_ORDER"),
    ("SELECT id FROM read_files('/in', schema => 'id int, n int') ORDER BY _metadata.shipment DESC, _metadata.file_index DESC, _metadata.row_index DESC LIMIT 3", ""),
    ("SELECT who FROM events QUALIFY row_number() OVER (PARTITION BY who ORDER BY ts, id) = 1", ""),
    ("SELECT who FROM events ORDER BY ts, id LIMIT 1", ""),
    ("SELECT who, n AS id FROM events ORDER BY ts, id LIMIT 1", "LIMIT_WITHOUT_TOTAL_ORDER"),
    ("SELECT explode(tags) AS tag FROM events ORDER BY id LIMIT 3", "LIMIT_WITHOUT_TOTAL_ORDER"),
    ("SELECT id, max_by(n, struct(ts, _metadata.shipment, _metadata.file_index, _metadata.row_index)) AS n FROM read_files('/in', schema => 'id int, n int, ts timestamp') GROUP BY id", ""),
    ("SELECT substring_index(input_file_name(), '/', -1) AS f FROM events", ""),
    # aggregates that depend on order
    ("SELECT who, first(ts) AS f FROM events GROUP BY who", "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT who, last(ts, true) AS f FROM events GROUP BY who", "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT who, any_value(ts) AS f FROM events GROUP BY who", "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT who, collect_list(id) AS l FROM events GROUP BY who", "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT who, collect_set(id) AS l FROM events GROUP BY who", "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT who, array_agg(id) AS l FROM events GROUP BY who", "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT who, concat_ws(',', collect_list(tags[0])) l FROM events GROUP BY who",
     "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT who, first(ts) FILTER (WHERE n > 1) f FROM events GROUP BY who",
     "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT listagg(who, ',') AS l FROM events", "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT listagg(who, ',') WITHIN GROUP (ORDER BY who) AS l FROM events", ""),
    ("SELECT who, collect_union(tags) AS l FROM events GROUP BY who", "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT who, sort_array(collect_union(tags)) AS l FROM events GROUP BY who", ""),
    ("SELECT who, sort_array(collect_list(id)) AS l FROM events GROUP BY who", ""),
    ("SELECT who, array_sort(array_distinct(collect_set(id))) l FROM events GROUP BY who", ""),
    ("SELECT who, size(collect_set(id)) AS n FROM events GROUP BY who", ""),
    ("SELECT who, array_contains(collect_set(id), 3) AS c FROM events GROUP BY who", ""),
    ("SELECT who, first(who) AS w, max(ts), min(id), count(*) FROM events GROUP BY who", ""),
    ("SELECT who, max_by(n, ts) AS newest, count(DISTINCT id) FROM events GROUP BY who",
     "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT who, max_by(n, id) AS newest, min_by(n, struct(ts, id)) AS oldest FROM events GROUP BY who",
     ""),
    ("SELECT who, max_by(n, struct(ts, n)) AS newest FROM raw GROUP BY who", ""),
    ("SELECT id, max_by(n, ts) AS newest FROM events GROUP BY id", ""),
    ("SELECT id, max_by(n, ts) AS newest FROM raw GROUP BY id", "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT listagg(who, ',') WITHIN GROUP (ORDER BY ts) AS l FROM events",
     "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT listagg(who, ',') WITHIN GROUP (ORDER BY ts, id) AS l FROM events", ""),
    ("SELECT who, array_sort(collect_list(id), (a, b) -> 0) AS l FROM events GROUP BY who",
     "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT who, explode(collect_set(id)) AS id FROM events GROUP BY who", ""),
    ("SELECT who, posexplode(collect_set(id)) FROM events GROUP BY who",
     "ORDER_DEPENDENT_AGGREGATE"),
    ("SELECT who, max(struct(ts, id)).id, percentile(n, 0.5) FROM events GROUP BY who", ""),
    ("SELECT first, last FROM (SELECT who AS first, n AS last FROM events)", ""),
    # limits
    ("SELECT * FROM events LIMIT 10", "LIMIT_WITHOUT_TOTAL_ORDER"),
    ("SELECT * FROM events ORDER BY ts LIMIT 10", "LIMIT_WITHOUT_TOTAL_ORDER"),
    ("SELECT who, count(*) AS c FROM events GROUP BY who ORDER BY c DESC LIMIT 3",
     "LIMIT_WITHOUT_TOTAL_ORDER"),
    ("SELECT * FROM (SELECT who FROM events LIMIT 5)", "LIMIT_WITHOUT_TOTAL_ORDER"),
    ("SELECT * FROM events WHERE n IN (SELECT n FROM events ORDER BY ts LIMIT 1)",
     "LIMIT_WITHOUT_TOTAL_ORDER"),
    ("SELECT * FROM events ORDER BY ts, id LIMIT 10", ""),
    ("SELECT who, count(*) AS c FROM events GROUP BY who ORDER BY c DESC, who LIMIT 3", ""),
    ("SELECT who, count(*) FROM events GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3", ""),
    ("SELECT count(*) AS c FROM events LIMIT 1", ""),
    ("SELECT DISTINCT who, n FROM events ORDER BY who, n LIMIT 5", ""),
    ("SELECT who, name FROM people ORDER BY who LIMIT 5", ""),
    ("SELECT * FROM events LIMIT 0", ""),
    ("SELECT * FROM events ORDER BY ts", ""),
    # windows
    ("SELECT *, row_number() OVER (PARTITION BY who ORDER BY ts) AS r FROM events",
     "TIES_IN_WINDOW"),
    ("SELECT *, row_number() OVER (PARTITION BY id ORDER BY ts DESC) AS r FROM raw",
     "TIES_IN_WINDOW"),
    ("SELECT *, lag(n) OVER (PARTITION BY who ORDER BY ts) AS before FROM events",
     "TIES_IN_WINDOW"),
    ("SELECT *, first_value(n) OVER (PARTITION BY who ORDER BY ts) AS f FROM events",
     "TIES_IN_WINDOW"),
    ("SELECT *, row_number() OVER (PARTITION BY who) AS r FROM events", "TIES_IN_WINDOW"),
    ("SELECT *, sum(n) OVER (ORDER BY ts ROWS UNBOUNDED PRECEDING) AS s FROM events",
     "TIES_IN_WINDOW"),
    ("SELECT * FROM events QUALIFY row_number() OVER (PARTITION BY who ORDER BY ts) = 1",
     "TIES_IN_WINDOW"),
    ("SELECT *, row_number() OVER (PARTITION BY who ORDER BY ts, id) AS r FROM events", ""),
    ("SELECT *, rank() OVER (PARTITION BY who ORDER BY ts) AS r FROM events", ""),
    ("SELECT *, dense_rank() OVER (ORDER BY ts), percent_rank() OVER (ORDER BY ts) FROM events",
     ""),
    ("SELECT *, sum(n) OVER (PARTITION BY who) AS s, count(*) OVER (ORDER BY ts) FROM events", ""),
    ("SELECT who, day, lag(c) OVER (PARTITION BY who ORDER BY day) AS before FROM (SELECT who, to_date(ts) AS day, count(*) AS c FROM events GROUP BY who, to_date(ts))", ""),
    ("SELECT who, row_number() OVER (ORDER BY who) AS r FROM people", ""),
    ("SELECT who, row_number() OVER (ORDER BY count(*), who) r FROM events GROUP BY who", ""),
    # floats
    ("SELECT who, sum(price) AS s FROM events GROUP BY who", "FLOAT_SUM"),
    ("SELECT who, avg(nested.temp) AS a FROM events GROUP BY who", "FLOAT_SUM"),
    ("SELECT sum(CAST(n AS DOUBLE)) AS s FROM events", "FLOAT_SUM"),
    ("SELECT sum(n * 1.5e0) AS s FROM events", "FLOAT_SUM"),
    ("SELECT sum(p) FROM (SELECT price * 2 AS p FROM events)", "FLOAT_SUM"),
    ("SELECT avg(n / 3) AS s FROM events", "FLOAT_SUM"),
    ("SELECT stddev(sqrt(n)) AS s FROM events", "FLOAT_SUM"),
    ("WITH e AS (SELECT coalesce(price, n) AS v FROM events) SELECT sum(v) FROM e", "FLOAT_SUM"),
    ("SELECT sum(e.price) FROM events e JOIN people p ON p.who = e.who", "FLOAT_SUM"),
    ("SELECT sum(amount), avg(n), sum(n * 1.5), max(price), min(price) FROM events", ""),
    ("SELECT sum(CAST(price AS DECIMAL(18, 4))) AS s, sum(nested.level) FROM events", ""),
    ("SELECT count(price), sum(unknown) FROM events", ""),
    # elsewhere
    ("SELECT ai_query('m', who) AS a FROM events", "EXTERNAL_LOOKUP"),
    ("SELECT * FROM parquet.`/elsewhere/x`", "UNTRACKED_FILES"),
    ("SELECT *, '/landing/us-east/x.json' AS path FROM events", "REGION_CONFIGURATION"),
    ("SELECT *, 'us-east' AS where FROM events", "REGION_CONFIGURATION"),
    ("SELECT *, 'us' AS country FROM events", ""),
    ("SELECT * FROM read_files('/landing/us-east/in', format => 'json')", ""),
    ("SELECT * FROM STREAM read_files('/in', format => 'json')", "INFERRED_TYPES"),
    ("SELECT * FROM STREAM read_files('/in', format => 'csv', schemaHints => 'a int')", ""),
    ("SELECT * FROM STREAM read_files('/in', format => 'parquet')", ""),
    ("SELECT * FROM STREAM read_files('/in', format => 'csv', inferColumnTypes => false)", ""),
    # files that a region's start or clock chooses
    ("SELECT * FROM STREAM read_files('/in', format => 'text', includeExistingFiles => false)", "FILES_BY_CLOCK"),
    ("SELECT * FROM STREAM read_files('/in', format => 'text', includeExistingFiles => true)", ""),
    ("SELECT * FROM read_files('/in', format => 'text', maxFileAge => '90 days')", "FILES_BY_CLOCK"),
    ("SELECT * FROM STREAM read_files('/in', format => 'text', modifiedAfter => '2026-01-01')", ""),
    # keys are declared or proven, not guessed from names
    ("SELECT * FROM raw ORDER BY id LIMIT 10", "LIMIT_WITHOUT_TOTAL_ORDER"),
    ("SELECT *, row_number() OVER (PARTITION BY who ORDER BY id) AS r FROM raw", "TIES_IN_WINDOW"),
    (("SELECT id, who FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY ts DESC) AS r FROM raw)"
      " WHERE r = 1"), "TIES_IN_WINDOW"),
    (("SELECT id, ts, who FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY ts DESC, who) AS r"
      " FROM raw) WHERE r = 1"), ""),
    (("SELECT id, ts, who, n FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY ts DESC, who) AS r"
      " FROM raw) WHERE r = 1"), "TIES_IN_WINDOW"),
    ("SELECT id, ts, who FROM raw QUALIFY row_number() OVER (PARTITION BY id ORDER BY ts, who) = 1", ""),
    ("SELECT id, who FROM raw WHERE n > 1 QUALIFY row_number() OVER (PARTITION BY id ORDER BY who) = 1", ""),
    (("SELECT id, who FROM (SELECT * FROM raw QUALIFY row_number() OVER (PARTITION BY id ORDER BY who) = 1)"
      " WHERE n > 1"), "TIES_IN_WINDOW"),
    ("SELECT id, who FROM raw ORDER BY who, id LIMIT 3", ""),
    ("SELECT id AS k, who FROM raw ORDER BY who, k LIMIT 3", ""),
    ("SELECT id AS k, who FROM raw ORDER BY 2, 1 LIMIT 3", ""),
    ("SELECT id, who, n FROM raw ORDER BY who, id LIMIT 3", "LIMIT_WITHOUT_TOTAL_ORDER"),
    ("SELECT max(x) FROM (SELECT id AS x, who FROM raw ORDER BY who, id LIMIT 3)", ""),
    ("SELECT id, lag(n) OVER (PARTITION BY who ORDER BY id) AS l FROM raw", "TIES_IN_WINDOW"),
    ("SELECT id, lag(n) OVER (PARTITION BY who ORDER BY id, n) AS l FROM raw", ""),
    ("SELECT id, row_number() OVER (ORDER BY id) AS r FROM (SELECT id, explode(tags) FROM events)",
     ""),
    ("SELECT *, row_number() OVER (ORDER BY id) AS r FROM (SELECT id, explode(tags) AS t FROM events)",
     "TIES_IN_WINDOW"),
    ("SELECT *, row_number() OVER (ORDER BY id) AS r FROM (SELECT n AS id, who FROM events)",
     "TIES_IN_WINDOW"),
    (("SELECT *, row_number() OVER (ORDER BY id) AS r FROM (SELECT id, who FROM events UNION ALL"
      " SELECT id, who FROM raw)"), "TIES_IN_WINDOW"),
    (("SELECT *, row_number() OVER (ORDER BY who) AS r FROM (SELECT who, n, max(ts) AS m FROM raw"
      " GROUP BY who, n)"), "TIES_IN_WINDOW"),
    (("SELECT *, row_number() OVER (ORDER BY who, n) AS r FROM (SELECT who, n, max(ts) AS m FROM raw"
      " GROUP BY ROLLUP (who, n))"), "TIES_IN_WINDOW"),
    (("SELECT *, row_number() OVER (ORDER BY who, n) AS r FROM (SELECT who, n, max(ts) AS m FROM raw"
      " GROUP BY who, n)"), ""),
    ("SELECT *, row_number() OVER (ORDER BY who, n) AS r FROM (SELECT DISTINCT who, n FROM raw)", ""),
    (("SELECT *, lead(n) OVER (ORDER BY who) AS l FROM (SELECT *, row_number() OVER (PARTITION BY who"
      " ORDER BY id) AS r FROM events) WHERE r = 1"), ""),
    (("SELECT *, lead(n) OVER (ORDER BY who) AS l FROM (SELECT *, row_number() OVER (PARTITION BY who"
      " ORDER BY id) AS r FROM events) WHERE r >= 1"), "TIES_IN_WINDOW"),
    (("SELECT *, lead(n) OVER (ORDER BY who) AS l FROM (SELECT *, row_number() OVER (PARTITION BY who"
      " ORDER BY id) AS r FROM events) WHERE r = 1 OR n > 2"), "TIES_IN_WINDOW"),
    # plain queries
    ("SELECT DISTINCT who FROM events", ""),
    ("SELECT who FROM events UNION SELECT who FROM people", ""),
    ("SELECT e.*, p.name FROM events e LEFT JOIN people p USING (who)", ""),
    ("SELECT who, explode(tags) AS tag FROM events", ""),
    ("SELECT window(ts, '1 hour') AS w, count(*) AS c FROM events GROUP BY window(ts, '1 hour')",
     ""),
    ("SELECT approx_count_distinct(who), bool_or(n > 1), count_if(n > 2) FROM events", ""),
]  # fmt: skip

plain = F.udf(lambda value: value + 1, t.IntegerType())
chance = F.udf(lambda value: value + random.random(), t.DoubleType())
admitted = F.udf(lambda value: value, t.IntegerType()).asNondeterministic()
seeded = F.udf(lambda value: uuid.uuid5(uuid.NAMESPACE_URL, value).hex, t.StringType())


def _helper():
    return time.time()  # noqa: TID251 - what must be found


@F.udf(t.DoubleType())
def hidden_clock(value):
    return value + _helper()


@F.udf(t.StringType())
def imports_inside(value):
    import requests

    return requests.get(value, timeout=1).text


@F.udf(t.TimestampType())
def parses(value):
    return dt.datetime.fromisoformat(value)


@F.udf(t.TimestampType())
def stamps(_value):
    return dt.datetime.now(tz=dt.UTC)  # noqa: TID251 - what must be found


BY_TIME = Window.partitionBy("who").orderBy("ts")
TOTAL = Window.partitionBy("who").orderBy(F.col("ts").desc(), F.col("id"))


def _latest(events):
    first = events.withColumn("r", F.row_number().over(TOTAL)).filter(F.col("r") == 1)
    return first.withColumn("next", F.lead("n").over(Window.partitionBy(F.lit(0)).orderBy("who")))


DATAFRAMES = {
    "current_timestamp": (lambda e: e.withColumn("at", F.current_timestamp()), "CLOCK"),
    "filter by date": (lambda e: e.filter(F.col("ts") > F.current_date()), "CLOCK"),
    "expr": (lambda e: e.withColumn("at", F.expr("now()")), "CLOCK"),
    "selectExpr": (lambda e: e.selectExpr("id", "current_timestamp() AS at"), "CLOCK"),
    "filter string": (lambda e: e.filter("ts > current_timestamp()"), "CLOCK"),
    "to_date": (lambda e: e.withColumn("d", F.to_date("ts")), ""),
    "rand": (lambda e: e.withColumn("r", F.rand()), "RANDOM"),
    "uuid": (lambda e: e.withColumn("r", F.expr("uuid()")), "RANDOM"),
    "ids": (lambda e: e.withColumn("r", F.monotonically_increasing_id()), "RANDOM"),
    "sample": (lambda e: e.sample(0.1, seed=3), "RANDOM"),
    "hash": (lambda e: e.withColumn("r", F.sha2(F.concat_ws("|", "who", "ts"), 256)), ""),
    "udf": (lambda e: e.withColumn("r", plain("n")), ""),
    "udf by chance": (lambda e: e.withColumn("r", chance("n")), "NONDETERMINISTIC_UDF"),
    "udf admitted": (lambda e: e.withColumn("r", admitted("n")), "NONDETERMINISTIC_UDF"),
    "udf with a helper": (lambda e: e.select(hidden_clock("n")), "NONDETERMINISTIC_UDF"),
    "udf that asks": (lambda e: e.select(imports_inside("who")), "NONDETERMINISTIC_UDF"),
    "udf that stamps": (lambda e: e.select(stamps("who")), "NONDETERMINISTIC_UDF"),
    "udf that parses": (lambda e: e.select(parses("who"), seeded("who")), ""),
    "mapInArrow": (
        lambda e: e.select("id").mapInArrow(lambda it: (b for b in it if _helper()), "id long"),
        "NONDETERMINISTIC_UDF",
    ),
    "file path": (lambda e: e.select("*", "_metadata.file_path"), "REGION_METADATA"),
    "file name": (lambda e: e.select("*", "_metadata.file_name"), ""),
    "input_file_name": (lambda e: e.select(F.input_file_name()), "REGION_METADATA"),
    "cut path": (
        lambda e: e.select(F.regexp_extract(F.col("_metadata.file_path"), "[^/]+$", 0)),
        "",
    ),
    "first": (
        lambda e: e.groupBy("who").agg(F.first("n").alias("f")),
        "ORDER_DEPENDENT_AGGREGATE",
    ),
    "collect_list": (
        lambda e: e.groupBy("who").agg(F.collect_list("id")),
        "ORDER_DEPENDENT_AGGREGATE",
    ),
    "sorted list": (lambda e: e.groupBy("who").agg(F.sort_array(F.collect_list("id"))), ""),
    "array_sort": (lambda e: e.groupBy("who").agg(F.array_sort(F.collect_set("id"))), ""),
    "set's size": (lambda e: e.groupBy("who").agg(F.size(F.collect_set("id"))), ""),
    "max_by": (
        lambda e: e.groupBy("who").agg(F.max_by("n", "ts"), F.count("*")),
        "ORDER_DEPENDENT_AGGREGATE",
    ),
    "max_by a key": (
        lambda e: e.groupBy("who").agg(F.max_by("n", F.struct("ts", "id"))),
        "",
    ),
    "pivot": (lambda e: e.groupBy("who").pivot("n", [1, 2]).agg(F.max("id")), ""),
    "limit": (lambda e: e.limit(3), "LIMIT_WITHOUT_TOTAL_ORDER"),
    "limit by ts": (lambda e: e.orderBy("ts").limit(3), "LIMIT_WITHOUT_TOTAL_ORDER"),
    "limit by id": (lambda e: e.orderBy("ts", "id").select("who").limit(3), ""),
    "top groups": (
        lambda e: e.groupBy("who").count().orderBy(F.desc("count")).limit(3),
        "LIMIT_WITHOUT_TOTAL_ORDER",
    ),
    "top groups by name": (
        lambda e: e.groupBy("who").count().orderBy(F.desc("count"), "who").limit(3),
        "",
    ),
    "row_number": (
        lambda e: e.withColumn("r", F.row_number().over(BY_TIME)),
        "TIES_IN_WINDOW",
    ),
    "running sum": (
        lambda e: e.withColumn("r", F.sum("n").over(BY_TIME.rowsBetween(-3, 0))),
        "TIES_IN_WINDOW",
    ),
    "total row_number": (lambda e: e.withColumn("r", F.row_number().over(TOTAL)), ""),
    "rank": (lambda e: e.withColumn("r", F.rank().over(BY_TIME)), ""),
    "first of each is a key": (_latest, ""),
    "dropDuplicates": (lambda e: e.dropDuplicates(["who"]), "DUPLICATES_BY_SUBSET"),
    "dropDuplicates of all": (lambda e: e.dropDuplicates(), ""),
    "dropDuplicates of the selected": (
        lambda e: e.select("who", "n").dropDuplicates(["who", "n"]),
        "",
    ),
    "dropDuplicates of groups": (
        lambda e: e.groupBy("who").count().dropDuplicates(["who"]),
        "",
    ),
    "float sum": (lambda e: e.groupBy("who").agg(F.sum("price").alias("s")), "FLOAT_SUM"),
    "float literal": (lambda e: e.agg(F.sum(F.col("n") * 0.1)), "FLOAT_SUM"),
    "float cast": (lambda e: e.agg(F.avg(F.col("n").cast("double"))), "FLOAT_SUM"),
    "renamed float": (
        lambda e: e.withColumnRenamed("price", "cost").agg(F.sum("cost")),
        "FLOAT_SUM",
    ),
    "float in a field": (lambda e: e.agg(F.sum(F.col("nested")["temp"])), "FLOAT_SUM"),
    "decimal sum": (lambda e: e.agg(F.sum("amount"), F.avg("n"), F.max("price")), ""),
    "replaced float": (
        lambda e: e.withColumn("price", F.col("price").cast("decimal(18,2)")).agg(F.sum("price")),
        "",
    ),
    "jdbc": (
        lambda e: e.join(e.sparkSession.read.format("jdbc").option("url", "x").load(), "id"),
        "EXTERNAL_LOOKUP",
    ),
    "files elsewhere": (
        lambda e: e.join(e.sparkSession.read.parquet("/x"), "id"),
        "UNTRACKED_FILES",
    ),
    "region's path": (
        lambda e: e.withColumn("z", F.lit("/landing/us-east")),
        "REGION_CONFIGURATION",
    ),
    "literals": (lambda e: e.withColumn("z", F.lit("us")).withColumn("y", F.lit(1.5)), ""),
    "union": (lambda e: e.unionByName(e).distinct().filter("n > 1").fillna(0), ""),
    "spark.sql": (lambda e: e.sparkSession.sql("SELECT rand() r FROM {e}", e=e), "RANDOM"),
    "spark.sql without": (lambda e: e.sparkSession.sql("SELECT id FROM {e} e", e=e), ""),
}
