# Databricks notebook source
from pyspark.sql import functions

import dlt

# COMMAND ----------


@dlt.table(comment="How many events each day had, and up to when they are counted.")
def daily_events():
    return (
        dlt.read("events")
        .groupBy(functions.to_date("event_timestamp").alias("day"))
        .agg(
            functions.count("*").alias("events"),
            functions.max("event_timestamp").alias("event_timestamp"),
        )
    )
