-- HAVING keeps results for which it is true, and neither those for which it is false nor those for which it is NULL.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page
HAVING sum(n) > 2;

/* test
rows clicks
  | page | n    | ts       |
  | a    | 1    | 00:00:01 |
  | a    | 5    | 00:00:02 |
  | b    | 2    | 00:00:03 |
  | c    | NULL | 00:00:04 |
end
expect
  | page | s |
  | a    | 6 |
*/
