-- The newest row of the slowest partition says how far the table is.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
watermarks follow the rows
rows clicks partition 0
  | page | n | ts       |
  | a    | 1 | 00:00:40 |
rows clicks partition 1
  | page | n | ts       |
  | b    | 2 | 00:00:01 |
rows clicks partition 1
  | page | n | ts       |
  | b    | 4 | 00:00:20 |
expect
  | window_start | page | c | s |
  | 00:00:00     | b    | 1 | 2 |
end
expect
  | window_start | page | c | s |
  | 00:00:20     | b    | 1 | 4 |
  | 00:00:40     | a    | 1 | 1 |
*/
