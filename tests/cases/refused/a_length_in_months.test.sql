-- A window's length in months is refused: months differ.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT tumble(ts, INTERVAL '1 month') AS w, count(*) AS c FROM clicks GROUP BY w;

/* test
refused
  7:…: …must not have months or years…
  hint: …
*/
