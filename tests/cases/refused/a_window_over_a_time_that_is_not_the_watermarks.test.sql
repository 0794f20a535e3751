-- A window over another column than the watermark's is refused.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT window_start, count(*) AS c FROM TUMBLE(clicks, ts + INTERVAL '1 month', INTERVAL '10 seconds') GROUP BY window_start;

/* test
refused
  7:…
  hint: …
*/
