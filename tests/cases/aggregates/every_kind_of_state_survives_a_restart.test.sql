-- Aggregates of every kind go on from a checkpoint with what they had.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT window_start, count(*) AS c, sum(n) AS s, avg(n) AS mean, count(DISTINCT page) AS pages, min(page) AS least,
  array_agg(n ORDER BY ts) AS ns, last_value(page ORDER BY ts) AS last, median(n) AS middle, round(stddev(n), 6) AS spread
FROM TUMBLE(clicks, ts, INTERVAL '1 minute')
GROUP BY window_start;

/* test
rows clicks
  | page | n | ts       |
  | a    | 1 | 00:00:01 |
restart
rows clicks
  | page | n | ts       |
  | b    | 2 | 00:00:02 |
  | b    | 3 | 00:00:03 |
restart
rows clicks
  | page | n | ts       |
  | a    | 4 | 00:00:04 |
watermark clicks 00:01:00
expect
  | window_start | c | s  | mean | pages | least | ns           | last | middle | spread   |
  | 00:00:00     | 4 | 10 | 2.5  | 2     | a     | [1, 2, 3, 4] | a    | 2.5    | 1.290994 |
restart
end
*/
