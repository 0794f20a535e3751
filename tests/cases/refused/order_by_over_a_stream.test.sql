-- ORDER BY over a stream is refused: order when reading.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page FROM clicks ORDER BY page;

/* test
refused
  6:1: ORDER BY is not possible over a stream
  hint: a view has no order; sort in the query that reads it
*/
