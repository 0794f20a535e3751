-- With 'on-bad-row' = 'fail' a query stops at the first row that an expression cannot take.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks', 'on-bad-row' = 'fail');

CREATE MATERIALIZED VIEW v AS SELECT page, 10 / n AS part FROM clicks;

/* test
rows clicks
  | page | n | ts       |
  | a    | 5 | 00:00:01 |
expect
  | page | part |
  | a    | 2    |
rows clicks
  | page | n | ts       |
  | b    | 0 | 00:00:02 |
stops
  …division by zero in "10 / n"
*/
