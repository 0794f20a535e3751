-- A window over window_time of the same length has all rows of the inner window.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW viewers AS
WITH present AS (
  SELECT window_time AS at, page FROM HOP(clicks, ts, INTERVAL '10 seconds', INTERVAL '20 seconds') GROUP BY window_time, page
)
SELECT window_start, count(*) AS pages FROM TUMBLE(present, at, INTERVAL '10 seconds') GROUP BY window_start;

/* test
rows clicks
  | page | ts       |
  | a    | 00:00:01 |
  | a    | 00:00:02 |
  | b    | 00:00:11 |
watermark clicks 00:00:10
expect
  | window_start | pages |
  | 00:00:00     | 1     |
watermark clicks 00:00:20
expect
  | window_start | pages |
  | 00:00:10     | 2     |
watermark clicks 00:00:30
expect
  | window_start | pages |
  | 00:00:20     | 1     |
end
*/
