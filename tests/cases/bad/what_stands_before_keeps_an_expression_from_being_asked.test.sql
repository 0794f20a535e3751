-- A row is bad if an expression fails that its text comes to: AND, OR and CASE are taken in their order.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW by_and AS SELECT page FROM clicks WHERE n <> 0 AND 10 / n > 1;

CREATE MATERIALIZED VIEW by_case AS SELECT page, CASE WHEN n = 0 THEN 0 ELSE 10 / n END AS part FROM clicks;

/* test
rows clicks
  | page | n  | ts       |
  | a    | 5  | 00:00:01 |
  | b    | 0  | 00:00:02 |
  | c    | 20 | 00:00:03 |
expect by_and
  | page |
  | a    |
expect by_case
  | page | part |
  | a    | 2    |
  | b    | 0    |
  | c    | 0    |
end
*/
