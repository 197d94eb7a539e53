"""`customers` comes with DMS' own settings: CSV without a header, `NULL` as a word, no `Op` in the load.

So files of the load have a column less than files of changes. Nothing in a row tells its order: its
place does, the file's name and the row in it, and the load is before every change.
"""

from pyspark import pipelines as dp
from pyspark.sql import functions as F

FOLDER = f"{spark.conf.get('landing_zone')}/erp/sales/customers"
COLUMNS = "id BIGINT, name STRING, city STRING, since DATE"


def read_files(names, columns):
    return (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "csv")
        .option("nullValue", "NULL")
        .option("multiLine", "true")
        .option("pathGlobFilter", names)
        .schema(columns)
        .load(FOLDER)
        .withColumn("file", F.col("_metadata.file_name"))
        .withColumn("row", F.col("_metadata.row_index"))
    )


dp.create_streaming_table("customers_changes", comment="Every row that DMS wrote, and its place.")


@dp.append_flow(target="customers_changes")
def customers_load():
    rows = read_files("LOAD*", COLUMNS)
    return rows.select(F.lit("I").alias("Op"), "*", F.lit(0).alias("phase"))


@dp.append_flow(target="customers_changes")
def customers_cdc():
    return read_files("[0-9]*", f"Op STRING, {COLUMNS}").select("*", F.lit(1).alias("phase"))


dp.create_streaming_table("customers", comment="What the database has now.")
dp.create_auto_cdc_flow(
    target="customers",
    source="customers_changes",
    keys=["id"],
    sequence_by=F.struct("phase", "file", "row"),
    apply_as_deletes=F.expr("Op = 'D'"),
    except_column_list=["Op", "phase", "file", "row"],
)
