-- A row more than five minutes ahead of the clock is in its window and does not move the watermark.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
clock 00:00:30
watermarks follow the rows
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:05 |
rows clicks
  | page | n | ts       |
  | z    | 2 | 00:05:31 |
rows clicks
  | page | n | ts       |
  | a    | 4 | 00:00:06 |
rows clicks
  | page | n | ts       |
  | a    | 8 | 00:05:30 |
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 2 | 5 |
end
expect
  | window_start | page | c | s |
  | 00:05:30     | z    | 1 | 2 |
  | 00:05:30     | a    | 1 | 8 |
*/
