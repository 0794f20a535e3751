-- first_value and last_value follow their ORDER BY, whenever a row comes.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT window_start, first_value(page ORDER BY ts) AS first, last_value(page ORDER BY ts) AS last
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | page | ts       |
  | b    | 00:00:05 |
  | c    | 00:00:09 |
rows clicks
  | page | ts       |
  | a    | 00:00:01 |
end
expect
  | window_start | first | last |
  | 00:00:00     | a     | c    |
*/
