-- A quotient of BIGINT is cut off towards zero; one with a fraction among its parts is a fraction.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT n / 2 AS whole, n % 2 AS rest, n / 2.0 AS half
FROM clicks;

/* test
rows clicks
  | n    | ts       |
  | 7    | 00:00:01 |
  | -7   | 00:00:02 |
  | NULL | 00:00:03 |
expect
  | whole | rest | half |
  | 3     | 1    | 3.5  |
  | -3    | -1   | -3.5 |
  | NULL  | NULL | NULL |
end
*/
