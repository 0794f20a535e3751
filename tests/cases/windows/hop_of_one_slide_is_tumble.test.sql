-- A HOP whose slide is its length has each row in one window.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW hops AS
SELECT window_start, window_end, count(*) AS c, sum(n) AS s
FROM HOP(clicks, ts, INTERVAL '10 seconds', INTERVAL '10 seconds')
GROUP BY window_start, window_end;

/* test
rows clicks
  | n | ts           |
  | 1 | 00:00:09.999 |
  | 2 | 00:00:10     |
end
expect
  | window_start | window_end | c | s |
  | 00:00:00     | 00:00:10   | 1 | 1 |
  | 00:00:10     | 00:00:20   | 1 | 2 |
*/
