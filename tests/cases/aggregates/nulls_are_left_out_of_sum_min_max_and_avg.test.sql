-- A NULL among values is as if it were not there: it is no zero.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT sum(n) AS s, min(n) AS least, max(n) AS most, avg(n) AS mean
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | n    | ts       |
  | 4    | 00:00:01 |
  | NULL | 00:00:02 |
  | 1    | 00:00:03 |
end
expect
  | s | least | most | mean |
  | 5 | 1     | 4    | 2.5  |
*/
