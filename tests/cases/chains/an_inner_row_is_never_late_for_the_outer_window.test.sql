-- What an inner window emits at its close is in time for the window above, also when the watermark jumps far.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW busiest AS
WITH seconds AS (
  SELECT window_time AS at, page, count(*) AS c
  FROM TUMBLE(clicks, ts, INTERVAL '1 second')
  GROUP BY window_time, page
)
SELECT window_start, max(c) AS most FROM TUMBLE(seconds, at, INTERVAL '10 seconds') GROUP BY window_start;

/* test
rows clicks
  | page | ts       |
  | a    | 00:00:01 |
  | a    | 00:00:11 |
  | a    | 00:00:21 |
watermark clicks 00:05:00
expect
  | window_start | most |
  | 00:00:00     | 1    |
  | 00:00:10     | 1    |
  | 00:00:20     | 1    |
end
*/
