# Databricks notebook source
import dlt


@dlt.table(comment="Every event, as it landed.")
def events():
    return (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .load(f"{spark.conf.get('landing_zone')}/events")
    )
