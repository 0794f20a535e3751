-- A row that one branch cannot take is in no other branch either.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT n AS x FROM clicks UNION ALL SELECT 10 / n FROM clicks;

/* test
not in batch: rows have no number there, and each branch leaves out its own
rows clicks
  | n | ts       |
  | 5 | 00:00:01 |
  | 0 | 00:00:02 |
expect
  | x |
  | 5 |
  | 2 |
bad
  | offset |
  | 1      |
end
*/
