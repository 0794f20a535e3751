-- 'primary-key' may name columns of the view alone.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v WITH ('primary-key' = 'id') AS
SELECT page FROM clicks;

/* test
refused
  6:1: 'primary-key' names column "id", which the view does not have
  hint: there are page
*/
