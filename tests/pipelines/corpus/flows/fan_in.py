from pyspark import pipelines as dp

dp.create_streaming_table(
    name="events",
    comment="From every topic, and what came before there were topics",
    expect_all_or_drop={"named": "name IS NOT NULL"},
)

for topic in ["web", "app"]:

    @dp.append_flow(target="events", name=f"events_from_{topic}")
    def events_from(topic=topic):
        return spark.readStream.format("cloudFiles").option("cloudFiles.format", "json").load(f"/data/{topic}")


@dp.append_flow(target="events", once=True, comment="the archive")
def events_from_the_archive():
    return spark.read.format("parquet").load("/data/archive")


@dp.materialized_view
@dp.expect("counted", "n > 0")
def names():
    return spark.read.table("events").groupBy("name").count().withColumnRenamed("count", "n")
