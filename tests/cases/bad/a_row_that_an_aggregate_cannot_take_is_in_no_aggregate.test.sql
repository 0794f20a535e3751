-- A row for which one aggregate's argument fails counts in none of the others.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT window_start, count(*) AS c, sum(10 / n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start;

/* test
rows clicks
  | n | ts       |
  | 5 | 00:00:01 |
  | 0 | 00:00:02 |
  | 2 | 00:00:03 |
bad
  | offset | n |
  | 1      | 0 |
end
expect
  | window_start | c | s |
  | 00:00:00     | 2 | 7 |
*/
