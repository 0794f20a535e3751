-- A HOP of ten seconds by four has rows in two windows or three.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW hops AS
SELECT window_start, window_end, count(*) AS c, sum(n) AS s
FROM HOP(clicks, ts, INTERVAL '4 seconds', INTERVAL '10 seconds')
GROUP BY window_start, window_end;

/* test
rows clicks
  | n | ts       |
  | 1 | 00:00:05 |
  | 2 | 00:00:07 |
end
expect
  | window_start        | window_end | c | s |
  | 1969-12-31 23:59:56 | 00:00:06   | 1 | 1 |
  | 00:00:00            | 00:00:10   | 2 | 3 |
  | 00:00:04            | 00:00:14   | 2 | 3 |
*/
