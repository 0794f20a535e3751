-- Mistakes of two statements are reported both, each at its place.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS SELECT pag FROM clicks;

CREATE MATERIALIZED VIEW w AS SELECT page FROM clicks LIMIT 3;

/* test
refused
  6:38: column "pag" does not exist
  hint: did you mean "page"?
refused
  8:1: LIMIT is not possible over a stream
  hint: limit in the query that reads the view
*/
