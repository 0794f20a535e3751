-- HOP without GROUP BY gives a row once for each window that covers it.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW dated AS
SELECT page, window_start FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds');

/* test
rows clicks
  | page | ts       |
  | a    | 00:00:07 |
expect
  | page | window_start |
  | a    | 00:00:00     |
  | a    | 00:00:05     |
end
*/
