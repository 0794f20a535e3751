-- A window's row leaves when the watermark reaches the window's end, and not before.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
rows clicks
  | page | n    | ts       |
  | a    | 5    | 00:00:01 |
  | a    | NULL | 00:00:09 |
  | b    | 7    | 00:00:12 |
watermark clicks 00:00:09.999
watermark clicks 00:00:10
expect per_page
  | window_start | page | c | s |
  | 00:00:00     | a    | 2 | 5 |
end
expect per_page
  | window_start | page | c | s |
  | 00:00:10     | b    | 1 | 7 |
*/
