-- In a HOP of ten seconds by five a row counts in two windows, and each closes at its own end.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW hops AS
SELECT window_start, window_end, count(*) AS c, sum(n) AS s
FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')
GROUP BY window_start, window_end;

/* test
rows clicks
  | n | ts       |
  | 1 | 00:00:01 |
  | 2 | 00:00:07 |
  | 4 | 00:00:10 |
watermark clicks 00:00:05
expect
  | window_start        | window_end | c | s |
  | 1969-12-31 23:59:55 | 00:00:05   | 1 | 1 |
watermark clicks 00:00:10
expect
  | window_start | window_end | c | s |
  | 00:00:00     | 00:00:10   | 2 | 3 |
watermark clicks 00:00:15
expect
  | window_start | window_end | c | s |
  | 00:00:05     | 00:00:15   | 2 | 6 |
watermark clicks 00:00:20
expect
  | window_start | window_end | c | s |
  | 00:00:10     | 00:00:20   | 1 | 4 |
end
*/
