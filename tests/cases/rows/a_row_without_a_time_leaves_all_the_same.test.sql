-- Row by row a time matters to nobody: a record without one is in the result.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, ts
FROM clicks;

/* test
rows clicks
  | page | n | ts   |
  | a    | 1 | NULL |
expect
  | page | ts   |
  | a    | NULL |
end
*/
