# Databricks notebook source
# MAGIC %md
# MAGIC # Devices
# MAGIC
# MAGIC Telemetry; what's new?

# COMMAND ----------

# MAGIC %pip install --quiet some-package==1.2.3

# COMMAND ----------

# DBTITLE 1,Imports
import dlt
from pyspark.sql import functions as F
from units import celsius

# COMMAND ----------

@dlt.table
def readings():
  return spark.readStream.format("cloudFiles").option("cloudFiles.format", "csv").load("/data/readings")

# COMMAND ----------

display(spark.range(1))

# COMMAND ----------

# MAGIC %sql
# MAGIC -- the same in SQL
# MAGIC CREATE OR REFRESH MATERIALIZED VIEW readings_per_device
# MAGIC AS SELECT device, count(*) AS n
# MAGIC FROM readings GROUP BY device

# COMMAND ----------

@dlt.table(comment="in degrees Celsius")
@dlt.expect_all_or_drop({"present": "value IS NOT NULL", "sane": "value BETWEEN -100 AND 100"})
def temperatures():
  return dlt.read_stream("readings").withColumn("value", celsius(F.col("value")))
