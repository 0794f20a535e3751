-- The offset of a HOP moves the beginnings of all its windows.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW hops AS
SELECT window_start, window_end, count(*) AS c, sum(n) AS s
FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds', INTERVAL '1 second')
GROUP BY window_start, window_end;

/* test
rows clicks
  | n | ts           |
  | 1 | 00:00:06     |
  | 2 | 00:00:05.999 |
watermark clicks 00:00:06
expect
  | window_start        | window_end | c | s |
  | 1969-12-31 23:59:56 | 00:00:06   | 1 | 2 |
end
expect
  | window_start | window_end | c | s |
  | 00:00:01     | 00:00:11   | 2 | 3 |
  | 00:00:06     | 00:00:16   | 1 | 1 |
*/
