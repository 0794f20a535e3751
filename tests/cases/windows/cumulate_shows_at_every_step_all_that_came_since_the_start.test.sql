-- Each step of a CUMULATE has all rows since the window's start, also a step that brought none.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW so_far AS
SELECT window_start, window_end, sum(n) AS s
FROM CUMULATE(clicks, ts, INTERVAL '4 seconds', INTERVAL '12 seconds')
GROUP BY window_start, window_end;

/* test
rows clicks
  | n | ts       |
  | 1 | 00:00:01 |
  | 2 | 00:00:09 |
watermark clicks 00:00:04
expect
  | window_start | window_end | s |
  | 00:00:00     | 00:00:04   | 1 |
watermark clicks 00:00:08
expect
  | window_start | window_end | s |
  | 00:00:00     | 00:00:08   | 1 |
watermark clicks 00:00:12
expect
  | window_start | window_end | s |
  | 00:00:00     | 00:00:12   | 3 |
end
*/
