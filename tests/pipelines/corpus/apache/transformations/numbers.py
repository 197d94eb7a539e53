from pyspark import pipelines as dp
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col

spark = SparkSession.active()


@dp.materialized_view
def example_numbers() -> DataFrame:
    return spark.range(10)


@dp.materialized_view(name="shop.even_numbers", format="parquet", comment="every other one")
def even() -> DataFrame:
    return spark.read.table("example_numbers").where(col("id") % 2 == 0)


@dp.table(cluster_by=["id"], spark_conf={"spark.sql.shuffle.partitions": "2"})
def arriving() -> DataFrame:
    return spark.readStream.schema("value BIGINT").json("data/numbers")


dp.create_streaming_table("collected", schema="id BIGINT", partition_cols=[])


@dp.append_flow(target="collected")
def collect_even() -> DataFrame:
    return spark.readStream.table("spark_catalog.shop.arriving").select(col("value").alias("id"))
