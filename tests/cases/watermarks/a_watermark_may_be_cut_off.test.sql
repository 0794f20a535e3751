-- A watermark of date_trunc('minute', ts) - 5 seconds moves once a minute, and is five seconds behind it.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS date_trunc('minute', ts) - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
watermarks follow the rows
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:05 |
  | a    | 2 | 00:00:50 |
  | a    | 4 | 00:00:59 |
rows clicks
  | page | n | ts       |
  | a    | 8 | 00:01:00 |
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
end
expect
  | window_start | page | c | s |
  | 00:00:50     | a    | 2 | 6 |
  | 00:01:00     | a    | 1 | 8 |
*/
