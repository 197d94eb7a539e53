import dlt
from pyspark.sql.functions import col, current_timestamp, expr, to_date
from pyspark.sql.types import StructType, StructField, StringType, TimestampType

landing = spark.conf.get("landing_zone")

trip_schema = StructType(
    [
        StructField("trip_id", StringType(), True),
        StructField("picked_up_at", TimestampType(), True),
    ]
)


@dlt.table(
    comment="Trips as the vehicles reported them",
    table_properties={"quality": "bronze", "pipelines.reset.allowed": "false"},
)
def trips_raw():
    return (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .option("cloudFiles.schemaLocation", f"{landing}/_schemas")
        .load(f"{landing}/trips/")
        .withColumn("file", col("_metadata.file_path"))
    )


@dlt.view(comment="Zones, small and complete")
def zones():
    return spark.read.format("csv").option("header", True).load(f"{landing}/zones")


@dlt.table(
    name="trips_cleaned",
    comment="Trips that make sense",
    partition_cols=["day"],
    table_properties={"quality": "silver"},
)
@dlt.expect_or_drop("valid id", "trip_id IS NOT NULL AND length(trip_id) > 3")
@dlt.expect("valid fare", col("fare") > 0)
@dlt.expect_or_fail("no time travel", "dropped_off_at >= picked_up_at")
def clean_trips():
    trips = dlt.read_stream("trips_raw")
    known = dlt.read("zones")
    return (
        trips.withColumn("day", to_date("picked_up_at"))
        .join(known, trips.zone_id == known.id, "left")
        .select(trips["*"], known.name.alias("zone"), "day")
    )


@dlt.table
def trips_per_zone():
    return dlt.read("trips_cleaned").groupBy("zone", "day").agg(expr("count(*) AS trips"))


@dlt.table(schema=trip_schema, temporary=True)
def trips_today():
    return spark.table("LIVE.trips_cleaned").where(col("day") == to_date(current_timestamp()))
