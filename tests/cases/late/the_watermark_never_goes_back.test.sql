-- A watermark that is told an earlier time stays where it is, and what was late is late.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
watermark clicks 00:00:20
watermark clicks 00:00:05
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:15 |
  | a    | 2 | 00:00:25 |
late
  | n | watermark |
  | 1 | 00:00:20  |
end
expect
  | window_start | page | c | s |
  | 00:00:20     | a    | 1 | 2 |
*/
