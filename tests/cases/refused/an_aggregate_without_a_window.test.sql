-- An aggregate over a stream is refused without a window, with what to write.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, count(*) AS c FROM clicks GROUP BY page;

/* test
refused
  6:1: an aggregate over a stream needs a window, or it would never be final
  hint: FROM TUMBLE(t, ts, INTERVAL '1 minute') … GROUP BY window_start, window_end, …
*/
