-- With 'idle-timeout' = 'never' a silent partition holds the watermark back, however long.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks', 'idle-timeout' = 'never');

CREATE MATERIALIZED VIEW per_page AS
SELECT window_start, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
watermarks follow the rows
rows clicks partition 1
  | page | n | ts       |
  | b    | 1 | 00:00:01 |
rows clicks partition 0
  | page | n | ts       |
  | a    | 2 | 00:00:30 |
silence 1 hour
end
expect
  | window_start | page | c | s |
  | 00:00:00     | b    | 1 | 1 |
  | 00:00:30     | a    | 1 | 2 |
*/
