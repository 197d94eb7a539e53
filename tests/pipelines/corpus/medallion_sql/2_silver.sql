SET pipelines.trigger.interval = 1 minute;
SET first_day = '2026-01-01';

CREATE OR REFRESH PRIVATE STREAMING TABLE sales_checked (
  receipt_id BIGINT NOT NULL COMMENT 'the till''s number',
  amount DECIMAL(10, 2),
  sold_at TIMESTAMP,
  lines ARRAY<STRUCT<sku: STRING, n: INT>>,
  CONSTRAINT priced EXPECT (amount IS NOT NULL AND amount >= 0) ON VIOLATION DROP ROW,
  CONSTRAINT dated EXPECT (sold_at > to_timestamp(${first_day})) ON VIOLATION FAIL UPDATE,
  CONSTRAINT has_lines EXPECT (size(filter(lines, l -> l.n > 0)) > 0),
  CONSTRAINT sales_pk PRIMARY KEY (receipt_id) NOT ENFORCED
)
CLUSTER BY (sold_at)
AS
WITH fresh AS (
  SELECT *, upper(note) AS loud -- ; not the end
  FROM STREAM sales_bronze
)
SELECT receipt_id, amount, sold_at, lines FROM fresh WHERE note <> 'void; cancelled';

CREATE TEMPORARY VIEW open_shops (CONSTRAINT named EXPECT (name IS NOT NULL))
AS SELECT id, name FROM shops_bronze WHERE closed_on IS NULL;
