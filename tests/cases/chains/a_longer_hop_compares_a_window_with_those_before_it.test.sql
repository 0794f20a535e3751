-- A HOP over a TUMBLE sees the present window beside those before it.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW spikes AS
WITH tens AS (
  SELECT window_time AS at, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_time
)
SELECT window_end, last_value(c ORDER BY at) AS now, max(c) AS most, count(*) AS tens
FROM HOP(tens, at, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY window_end;

/* test
rows clicks
  | ts       |
  | 00:00:01 |
  | 00:00:11 |
  | 00:00:12 |
watermark clicks 00:00:20
expect
  | window_end | now | most | tens |
  | 00:00:10   | 1   | 1    | 1    |
  | 00:00:20   | 2   | 2    | 2    |
end
expect
  | window_end | now | most | tens |
  | 00:00:30   | 2   | 2    | 1    |
*/
