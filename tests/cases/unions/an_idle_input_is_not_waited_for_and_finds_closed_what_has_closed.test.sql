-- A window does not wait for an idle input; what that brings for the window when it wakes is late.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');
CREATE TABLE taps (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'taps');

CREATE MATERIALIZED VIEW both AS
SELECT window_end, count(*) AS c, sum(n) AS s
FROM TUMBLE((SELECT n, ts FROM clicks UNION ALL SELECT n, ts FROM taps), ts, INTERVAL '10 seconds')
GROUP BY window_end;

/* test
rows clicks
  | n | ts       |
  | 1 | 00:00:01 |
watermark clicks 00:00:15
idle taps
expect
  | window_end | c | s |
  | 00:00:10   | 1 | 1 |
rows taps
  | n | ts       |
  | 2 | 00:00:03 |
  | 4 | 00:00:16 |
late
  | table | n |
  | taps  | 2 |
watermark clicks 00:00:25
watermark taps 00:00:18
watermark taps 00:00:20
expect
  | window_end | c | s |
  | 00:00:20   | 1 | 4 |
end
*/
