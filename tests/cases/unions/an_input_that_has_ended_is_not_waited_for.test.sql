-- Of an input that has ended nothing more comes, and windows go by the others.

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
rows taps
  | n | ts       |
  | 2 | 00:00:02 |
end taps
watermark clicks 00:00:10
expect
  | window_end | c | s |
  | 00:00:10   | 2 | 3 |
end
*/
