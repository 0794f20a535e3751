-- A row that comes in the epoch in which the watermark passes its window is in it.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
and watermark clicks 00:00:15
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
end
*/
