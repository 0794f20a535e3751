-- A row that is in two windows of a HOP counts twice in a window above it.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT tumble(ts, INTERVAL '1 minute') AS w, count(*) AS c
FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')
GROUP BY w;

/* test
rows clicks
  | ts       |
  | 00:00:07 |
  | 00:00:31 |
watermark clicks 00:01:00
expect
  | c |
  | 4 |
end
*/
