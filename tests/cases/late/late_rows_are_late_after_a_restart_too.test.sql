-- What has closed stays closed when the query goes on from a checkpoint.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
watermark clicks 00:00:10
expect
  | window_start | page | c | s |
  | 00:00:00     | a    | 1 | 1 |
restart
rows clicks
  | page | n | ts       |
  | a    | 2 | 00:00:02 |
  | a    | 4 | 00:00:11 |
late
  | n |
  | 2 |
restart
end
expect
  | window_start | page | c | s |
  | 00:00:10     | a    | 1 | 4 |
*/
