-- A window waits for every partition of its table.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
rows clicks partition 0
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
rows clicks partition 1
  | page | n | ts       |
  | a    | 2 | 00:00:02 |
watermark clicks partition 0 00:00:20
watermark clicks partition 1 00:00:09
rows clicks partition 1
  | page | n | ts       |
  | a    | 4 | 00:00:09 |
watermark clicks partition 1 00:00:10
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 3 | 7 |
end
*/
