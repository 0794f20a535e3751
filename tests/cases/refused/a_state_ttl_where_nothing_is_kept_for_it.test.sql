-- A view without an as-of join has nothing that 'state-ttl' could end.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v WITH ('state-ttl' = '1 hour') AS
SELECT page, n FROM clicks;

/* test
refused
  6:1: option "state-ttl" has no effect…
  hint: leave it out
*/
