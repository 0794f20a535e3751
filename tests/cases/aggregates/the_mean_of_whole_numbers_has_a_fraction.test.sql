-- avg of BIGINT is a fraction, and sum / count of BIGINT is a whole number.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT avg(n) AS mean, sum(n) / count(*) AS whole
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | n | ts       |
  | 1 | 00:00:01 |
  | 2 | 00:00:02 |
  | 2 | 00:00:03 |
end
expect
  | mean   | whole |
  | 1.666… | 1     |
*/
