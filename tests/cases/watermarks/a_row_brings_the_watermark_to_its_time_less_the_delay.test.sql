-- A watermark declared as ts - 5 seconds closes a window when a row comes that is 5 seconds behind its end.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
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
rows clicks
  | page | n | ts           |
  | a    | 2 | 00:00:14.999 |
rows clicks
  | page | n | ts       |
  | a    | 4 | 00:00:15 |
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
end
expect
  | window_start | page | c | s |
  | 00:00:10     | a    | 2 | 6 |
*/
