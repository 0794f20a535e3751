-- Sums of sums of sums are sums, and each leaves with the last of what it is made of.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW minutes AS
WITH seconds AS (SELECT window_time AS t1, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '1 second') GROUP BY window_time),
tens AS (SELECT window_time AS t2, sum(s) AS s FROM TUMBLE(seconds, t1, INTERVAL '10 seconds') GROUP BY window_time)
SELECT window_start, sum(s) AS s, count(*) AS tens FROM TUMBLE(tens, t2, INTERVAL '1 minute') GROUP BY window_start;

/* test
rows clicks
  | n | ts       |
  | 1 | 00:00:01 |
  | 2 | 00:00:02 |
  | 4 | 00:00:15 |
  | 8 | 00:00:59 |
watermark clicks 00:00:59
watermark clicks 00:01:00
expect
  | window_start | s  | tens |
  | 00:00:00     | 15 | 3    |
end
*/
