CREATE OR REFRESH MATERIALIZED VIEW revenue_per_day
PARTITIONED BY (day)
COMMENT 'Revenue, by day and shop'
AS SELECT CAST(s.sold_at AS DATE) AS day, o.name AS shop, sum(s.amount) AS revenue
   FROM sales_checked s JOIN open_shops o ON o.id = s.shop_id
   GROUP BY ALL;

CREATE MATERIALIZED VIEW IF NOT EXISTS best_day USING DELTA AS
(SELECT * FROM revenue_per_day WHERE revenue = (SELECT max(revenue) FROM revenue_per_day))
