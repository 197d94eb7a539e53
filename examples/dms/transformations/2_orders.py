"""`orders` comes with a header, `Op` in the load too, GZIP, folders by day, and `AR_H_CHANGE_SEQ`.

The settings: AddColumnName, IncludeOpForFullLoad, DatePartitionEnabled, CompressionType, TimestampColumnName, and a rule
that adds `AR_H_CHANGE_SEQ`, which is empty for rows of the load. `orders` keeps what each order was.
"""

from pyspark import pipelines as dp
from pyspark.sql import functions as F

LANDING_ZONE = spark.conf.get("landing_zone")


@dp.table(comment="Every row that DMS wrote.")
@dp.expect("complete", "_rescued_data IS NULL")
def orders_changes():
    files = (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "csv")
        .option("header", "true")
        .option("nullValue", "NULL")
        .option("multiLine", "true")
        .option("recursiveFileLookup", "true")
        .option(
            "cloudFiles.schemaHints",
            "id bigint, customer bigint, status string, amount decimal(12,2), committed timestamp",
        )
        .load(f"{LANDING_ZONE}/erp/sales/orders")
    )
    return files.withColumn("seq", F.coalesce("AR_H_CHANGE_SEQ", F.lit("0" * 35)))


dp.create_streaming_table("orders", comment="What each order was, from which change to which.")
dp.create_auto_cdc_flow(
    target="orders",
    source="orders_changes",
    keys=["id"],
    sequence_by="seq",
    apply_as_deletes="Op = 'D'",
    except_column_list=["Op", "AR_H_CHANGE_SEQ", "seq", "_rescued_data"],
    stored_as_scd_type=2,
)
