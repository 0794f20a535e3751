-- string_agg puts texts together in its order, without those that are NULL.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT string_agg(page, '-' ORDER BY n) AS path
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | page | n | ts       |
  | c    | 3 | 00:00:01 |
  | NULL | 2 | 00:00:02 |
  | a    | 1 | 00:00:03 |
end
expect
  | path |
  | a-c  |
*/
