-- A row is not late for being behind the watermark, only for its window having closed.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
watermark clicks 00:00:15
rows clicks
  | page | n | ts           |
  | a    | 1 | 00:00:10     |
  | a    | 2 | 00:00:14.999 |
end
expect
  | window_start | page | c | s |
  | 00:00:10     | a    | 2 | 3 |
*/
