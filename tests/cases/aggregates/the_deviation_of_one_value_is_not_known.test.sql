-- stddev of a single value is NULL, and that of the population 0.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT page, stddev(n) AS sample, stddev_pop(n) AS population
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
rows clicks
  | page | n | ts       |
  | a    | 3 | 00:00:01 |
  | b    | 2 | 00:00:02 |
  | b    | 4 | 00:00:03 |
end
expect
  | page | sample      | population |
  | a    | NULL        | 0          |
  | b    | 1.41421356… | 1          |
*/
