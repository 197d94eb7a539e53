CREATE MATERIALIZED VIEW odd_numbers AS
SELECT id FROM example_numbers
WHERE id % 2 = 1;

CREATE STREAMING TABLE also_collected;
CREATE FLOW collect_arriving AS INSERT INTO also_collected BY NAME
SELECT value AS id FROM STREAM arriving;
