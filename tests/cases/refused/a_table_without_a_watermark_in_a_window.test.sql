-- A window over a time without a watermark is refused.

CREATE TABLE clicks (page VARCHAR, ts TIMESTAMP(3)) WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT window_start, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start;

/* test
refused
  5:1: column "ts" has no watermark, so its windows would never close
  hint: declare WATERMARK FOR it in the table's CREATE TABLE, and pass it on unchanged
*/
