# Databricks notebook source
import dlt


@dlt.table(comment="Every event, as it landed.")
def events():
    return (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "event_timestamp TIMESTAMP")
        .load(f"{spark.conf.get('landing_zone')}/events")
    )
