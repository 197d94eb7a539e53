-- Gold: what the shop earns on each day, from its orders as they are now.
CREATE OR REFRESH MATERIALIZED VIEW daily_revenue AS
SELECT
  to_date(placed_at) AS day,
  count(*) AS orders,
  sum(amount) AS revenue
FROM orders
WHERE __END_AT IS NULL AND status <> 'cancelled'
GROUP BY to_date(placed_at);
