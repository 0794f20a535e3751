-- Over rows whose values are all NULL, sum, min, max and avg are NULL, and count is 0.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT sum(n) AS s, min(n) AS least, max(n) AS most, avg(n) AS mean, count(n) AS c, count(DISTINCT n) AS d
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | n    | ts       |
  | NULL | 00:00:01 |
  | NULL | 00:00:02 |
end
expect
  | s    | least | most | mean | c | d |
  | NULL | NULL  | NULL | NULL | 0 | 0 |
*/
