-- Databricks notebook source
-- MAGIC %md-sandbox
-- MAGIC # Clicks; the classic example
-- MAGIC <div style="float: right">it's HTML</div>

-- COMMAND ----------

-- DBTITLE 1,Let's ingest; raw JSON
CREATE OR REFRESH STREAMING LIVE TABLE clicks_raw (
  CONSTRAINT readable EXPECT (_rescued_data IS NULL)
)
COMMENT "The raw clickstream, ingested from /data"
AS SELECT * FROM cloud_files("${landing_zone}/clicks", "json", map("cloudFiles.inferColumnTypes", "true"))

-- COMMAND ----------

CREATE INCREMENTAL LIVE VIEW clicks_renamed
AS SELECT curr_id AS id, prev_title AS `from page`, n FROM STREAM(LIVE.clicks_raw);

-- COMMAND ----------

CREATE LIVE TABLE clicks_clean(
  CONSTRAINT valid_page EXPECT (id IS NOT NULL),
  CONSTRAINT valid_count EXPECT (n > 0) ON VIOLATION FAIL UPDATE
)
COMMENT "Clicks with names that can be typed"
TBLPROPERTIES ("quality" = "silver", pipelines.autoOptimize.zOrderCols = "id")
AS SELECT id, `from page` AS origin, CAST(n AS INT) AS n FROM LIVE.clicks_clean_source

-- COMMAND ----------

CREATE TEMPORARY LIVE VIEW clicks_clean_source AS
SELECT * FROM live.clicks_raw_copy

-- COMMAND ----------

CREATE OR REFRESH TEMPORARY LIVE TABLE clicks_raw_copy AS SELECT curr_id AS id, prev_title AS `from page`, n FROM LIVE.clicks_raw;
-- COMMAND ----------
CREATE LIVE TABLE top_pages
AS SELECT origin, sum(n) AS clicks FROM LIVE.clicks_clean GROUP BY origin ORDER BY clicks DESC;
