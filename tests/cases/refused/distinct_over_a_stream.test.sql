-- DISTINCT over a stream is refused: it would keep every row.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT DISTINCT page FROM clicks;

/* test
refused
  6:1: DISTINCT over a stream would keep every row for ever
  hint: SELECT DISTINCT window_start, window_end, … FROM TUMBLE(t, ts, INTERVAL '1 minute')
*/
