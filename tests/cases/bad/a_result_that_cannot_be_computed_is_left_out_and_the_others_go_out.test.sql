-- A group for which an expression over its aggregates fails is a dead letter without an origin.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, 10 / sum(n) AS part
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start, page;

/* test
rows clicks
  | page | n  | ts       |
  | a    | 5  | 00:00:01 |
  | b    | 4  | 00:00:02 |
  | b    | -4 | 00:00:03 |
end
expect
  | page | part |
  | a    | 2    |
bad
  | table | offset | page | reason                                                  |
  | NULL  | NULL   | b    | 7:14: division by zero in "10 / sum(clicks.n)" (10 / 0) |
*/
