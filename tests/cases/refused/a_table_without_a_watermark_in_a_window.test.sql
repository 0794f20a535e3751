-- A window over a time without a watermark is refused.

CREATE TABLE clicks (page VARCHAR, ts TIMESTAMP(3)) WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT window_start, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start;

/* test
refused
  6:…
  hint: …WATERMARK FOR ts…
*/
