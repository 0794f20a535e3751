-- Hours in a time zone are refused, and whole days named.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT tumble(ts, INTERVAL '1 hour', 'Europe/Berlin') AS w, count(*) AS c FROM clicks GROUP BY w;

/* test
refused
  7:8: in a time zone the window's size must be whole days
  hint: write INTERVAL '1 day', 'Europe/Berlin', or leave the time zone out
*/
