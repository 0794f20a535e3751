-- Whichever input is idle, the other one alone closes windows, and the watermark does not go back in between.

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
idle taps
watermark clicks 00:00:10
expect
  | window_end | c | s |
  | 00:00:10   | 1 | 1 |
rows taps
  | n | ts       |
  | 2 | 00:00:11 |
idle clicks
watermark taps 00:00:20
expect
  | window_end | c | s |
  | 00:00:20   | 1 | 2 |
rows clicks
  | n | ts       |
  | 4 | 00:00:21 |
watermark clicks 00:00:25
watermark taps 00:00:30
watermark clicks 00:00:30
expect
  | window_end | c | s |
  | 00:00:30   | 1 | 4 |
end
*/
