-- count(*) counts rows, count(n) those in which n is not NULL.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT count(*) AS rows, count(n) AS values
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | n    | ts       |
  | 1    | 00:00:01 |
  | NULL | 00:00:02 |
  | 0    | 00:00:03 |
end
expect
  | rows | values |
  | 3    | 2      |
*/
