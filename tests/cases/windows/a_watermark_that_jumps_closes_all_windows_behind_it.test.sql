-- Where the watermark passes several ends at once, all of these windows leave at once.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:05 |
  | a    | 2 | 00:00:15 |
  | b    | 3 | 00:00:18 |
  | a    | 4 | 00:00:47 |
watermark clicks 00:00:47
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
  | 00:00:10     | a    | 1 | 2 |
  | 00:00:10     | b    | 1 | 3 |
end
expect
  | window_start | page | c | s |
  | 00:00:40     | a    | 1 | 4 |
*/
