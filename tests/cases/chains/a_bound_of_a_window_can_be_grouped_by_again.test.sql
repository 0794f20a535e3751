-- The start of one window is a key beside the window above it.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT window_start, inner_start, count(*) AS c
FROM TUMBLE((SELECT ts, window_start AS inner_start FROM TUMBLE(clicks, ts, INTERVAL '5 seconds')), ts, INTERVAL '10 seconds')
GROUP BY window_start, inner_start;

/* test
rows clicks
  | ts       |
  | 00:00:01 |
  | 00:00:06 |
  | 00:00:07 |
end
expect
  | window_start | inner_start | c |
  | 00:00:00     | 00:00:00    | 1 |
  | 00:00:00     | 00:00:05    | 2 |
*/
