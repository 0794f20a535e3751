-- One GROUP BY cannot use two different windows.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT hop(ts, INTERVAL '1 s', INTERVAL '2 s') AS w, tumble(ts, INTERVAL '2 s') AS v, count(*) AS c FROM clicks GROUP BY w, v;

/* test
refused
  6:1: one GROUP BY cannot use two different windows
  hint: aggregate by the first window in a subquery and by the second over its result
*/
