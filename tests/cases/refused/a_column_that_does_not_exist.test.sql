-- A misspelt column is refused at its place, with the one that is meant.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT pag FROM clicks;

/* test
refused
  7:8: column "pag" does not exist
  hint: did you mean "page"?
*/
