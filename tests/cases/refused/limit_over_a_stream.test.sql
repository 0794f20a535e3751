-- LIMIT over a stream is refused.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page FROM clicks LIMIT 3;

/* test
refused
  6:1: LIMIT is not possible over a stream
  hint: limit in the query that reads the view
*/
