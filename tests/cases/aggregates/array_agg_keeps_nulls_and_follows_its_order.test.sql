-- array_agg has a NULL as well, at the end of an ascending order.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT array_agg(n ORDER BY n) AS up, array_agg(page ORDER BY n) AS pages
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | page | n    | ts       |
  | a    | 3    | 00:00:01 |
  | b    | NULL | 00:00:02 |
  | c    | 1    | 00:00:03 |
end
expect
  | up           | pages           |
  | [1, 3, null] | ["c", "a", "b"] |
*/
