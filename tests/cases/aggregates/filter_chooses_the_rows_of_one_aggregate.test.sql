-- FILTER leaves rows out of its own aggregate alone, and one that it leaves nothing is 0 or NULL.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT count(*) AS c, count(*) FILTER (WHERE n > 1) AS above, sum(n) FILTER (WHERE page = 'x') AS of_x,
  count(*) FILTER (WHERE page = 'x') AS xs
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | page | n    | ts       |
  | a    | 1    | 00:00:01 |
  | a    | 2    | 00:00:02 |
  | b    | NULL | 00:00:03 |
end
expect
  | c | above | of_x | xs |
  | 3 | 1     | NULL | 0  |
*/
