-- A branch without a stream is in the result once, also when the query is started again, and nothing waits for it.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT page, n FROM clicks UNION ALL SELECT 'none', 0;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
expect
  | page | n |
  | a    | 1 |
  | none | 0 |
restart
rows clicks
  | page | n | ts       |
  | b    | 2 | 00:00:02 |
expect
  | page | n |
  | b    | 2 |
end
*/
