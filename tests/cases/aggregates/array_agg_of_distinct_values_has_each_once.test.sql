-- array_agg(DISTINCT …) has each value once, in its order.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT array_agg(DISTINCT n ORDER BY n) AS ns
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | n | ts       |
  | 3 | 00:00:01 |
  | 1 | 00:00:02 |
  | 3 | 00:00:03 |
end
expect
  | ns     |
  | [1, 3] |
*/
