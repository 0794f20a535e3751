-- A table that stands in a union twice is read once and counted twice.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW twice AS
SELECT window_end, kind, sum(n) AS s
FROM TUMBLE((SELECT 'all' AS kind, n, ts FROM clicks UNION ALL SELECT 'big', n, ts FROM clicks WHERE n > 1), ts, INTERVAL '10 seconds')
GROUP BY window_end, kind;

/* test
rows clicks
  | n | ts       |
  | 1 | 00:00:01 |
  | 5 | 00:00:02 |
watermark clicks 00:00:10
expect
  | window_end | kind | s |
  | 00:00:10   | all  | 6 |
  | 00:00:10   | big  | 5 |
end
*/
