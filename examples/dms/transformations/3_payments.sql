-- `payments` comes as Parquet, which has types. The rule AR_H_CHANGE_SEQ gives the order here too.
CREATE OR REFRESH STREAMING TABLE payments_changes AS
SELECT *, coalesce(AR_H_CHANGE_SEQ, repeat('0', 35)) AS seq
FROM STREAM read_files(
  '${landing_zone}/erp/sales/payments',
  format => 'parquet',
  schemaHints => 'AR_H_CHANGE_SEQ string'
);

CREATE OR REFRESH STREAMING TABLE payments;

CREATE FLOW payments_cdc AS AUTO CDC INTO payments
FROM STREAM(payments_changes)
KEYS (id)
APPLY AS DELETE WHEN Op = 'D'
SEQUENCE BY seq
COLUMNS * EXCEPT (Op, AR_H_CHANGE_SEQ, seq, _rescued_data);

-- What each customer still owes.
CREATE OR REFRESH MATERIALIZED VIEW open_amounts AS
WITH ordered AS (
  SELECT customer, sum(amount) AS amount
  FROM orders WHERE __END_AT IS NULL AND status <> 'cancelled' GROUP BY customer
), paid AS (
  SELECT customer, sum(amount) AS amount FROM payments GROUP BY customer
)
SELECT c.id, c.name, coalesce(o.amount, 0) - coalesce(p.amount, 0) AS open_amount
FROM customers c
LEFT JOIN ordered o ON o.customer = c.id
LEFT JOIN paid p ON p.customer = c.id;
