/* Bronze: what the shops sent.
   Nothing is thrown away here; */
CREATE OR REFRESH STREAMING TABLE sales_bronze
COMMENT "Raw receipts; one row each"
TBLPROPERTIES ("quality" = "bronze", "delta.enableChangeDataFeed" = "true")
AS SELECT *, _metadata.file_name AS source_file
FROM STREAM read_files(
  '${landing_zone}/sales',
  format => 'json',
  inferColumnTypes => true,
  schemaHints => 'receipt_id BIGINT, amount DECIMAL(10,2)'
);

CREATE OR REFRESH STREAMING TABLE shops_bronze AS
SELECT * FROM STREAM(read_files("${landing_zone}/shops", format => "csv", header => "true"));
