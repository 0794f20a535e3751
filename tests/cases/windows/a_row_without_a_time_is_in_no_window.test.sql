-- A row whose time is NULL is in no window, and is not late.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | NULL     |
  | a    | 2 | 00:00:03 |
watermark clicks 00:00:10
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 2 |
rows clicks
  | page | n | ts   |
  | a    | 4 | NULL |
end
*/
