-- Rows of a partition that was idle are late where the watermark has passed their windows.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
rows clicks partition 0
  | page | n | ts       |
  | a    | 1 | 00:00:12 |
idle clicks partition 1
watermark clicks partition 0 00:00:12
rows clicks partition 1
  | page | n | ts       |
  | b    | 2 | 00:00:03 |
  | b    | 4 | 00:00:13 |
late
  | partition | n |
  | 1         | 2 |
watermark clicks partition 0 00:00:30
watermark clicks partition 1 00:00:20
expect
  | window_start | page | c | s |
  | 00:00:10     | a    | 1 | 1 |
  | 00:00:10     | b    | 1 | 4 |
end
*/
