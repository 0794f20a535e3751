-- A window over two inputs closes when both have passed its end.

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
watermark clicks 00:00:30
rows taps
  | n | ts       |
  | 2 | 00:00:02 |
watermark taps 00:00:09.999
watermark taps 00:00:10
expect
  | window_end | c | s |
  | 00:00:10   | 2 | 3 |
end
*/
