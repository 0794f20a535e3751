-- Two equal records are two rows of the result.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, n
FROM clicks;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
  | a    | 1 | 00:00:01 |
expect
  | page | n |
  | a    | 1 |
  | a    | 1 |
end
*/
