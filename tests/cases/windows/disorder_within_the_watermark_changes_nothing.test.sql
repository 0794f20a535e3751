-- Rows out of order that are ahead of the watermark are in their windows.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:19 |
  | a    | 2 | 00:00:01 |
  | a    | 4 | 00:00:12 |
  | a    | 8 | 00:00:05 |
watermark clicks 00:00:04
rows clicks
  | page | n  | ts       |
  | a    | 16 | 00:00:09 |
  | a    | 32 | 00:00:04 |
watermark clicks 00:00:12
expect
  | window_start | page | c | s  |
  | 00:00:00     | a    | 4 | 58 |
rows clicks
  | page | n  | ts       |
  | a    | 64 | 00:00:13 |
end
expect
  | window_start | page | c | s  |
  | 00:00:10     | a    | 3 | 69 |
*/
