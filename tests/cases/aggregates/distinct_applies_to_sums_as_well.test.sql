-- sum(DISTINCT n) takes a value once.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT sum(DISTINCT n) AS once, sum(n) AS all_of_them
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | n | ts       |
  | 5 | 00:00:01 |
  | 5 | 00:00:02 |
  | 2 | 00:00:03 |
end
expect
  | once | all_of_them |
  | 7    | 12          |
*/
