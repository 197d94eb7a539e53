"""Bronze: what the source said, as it said it.

One streaming table per source. Auto Loader remembers which files it has read, so every file
counts once, however often this region is stopped, killed or failed over to.
"""

from pyspark import pipelines as dp

LANDING_ZONE = spark.conf.get("landing_zone")

# Types are pinned with hints: a column's type must not depend on which file came first, or two
# regions that saw the files in another order would disagree. New columns may still appear.
FLIGHT_TYPES = """
    event_id string, event_timestamp timestamp, carrier string, flight int, tailnum string,
    origin string, dest string, distance int,
    scheduled struct<departure: int, arrival: int>,
    actual struct<departure: int, arrival: int, dep_delay: int, arr_delay: int, air_time: int>
"""


@dp.table(comment="Flight events as they arrived; what did not fit is in _rescued_data.")
def flights_bronze():
    return (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .option("cloudFiles.inferColumnTypes", "true")
        .option("cloudFiles.schemaHints", FLIGHT_TYPES)
        .load(f"{LANDING_ZONE}/flights")
    )


# Numbers that will be summed are decimals: a sum of floats depends on the order of its terms.
DIMENSIONS = {
    "airlines": "carrier string, name string",
    "airports": "faa string, name string, lat decimal(12,7), lon decimal(12,7), alt int",
    "planes": "tailnum string, year int, manufacturer string, model string, seats int",
    "weather": "origin string, time_hour timestamp, temp decimal(6,2), wind_speed decimal(9,5),"
    " precip decimal(6,3), visib decimal(6,2)",
}


def dimension(name, types):
    @dp.table(name=f"{name}_bronze", comment=f"The {name}, as published.")
    def load():
        return (
            spark.readStream.format("cloudFiles")
            .option("cloudFiles.format", "csv")
            .option("header", "true")
            .option("cloudFiles.schemaHints", types)
            .load(f"{LANDING_ZONE}/{name}")
        )


for name, types in DIMENSIONS.items():
    dimension(name, types)
