-- HAVING of the inner window decides what the outer one sees.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW busy AS
WITH seconds AS (
  SELECT window_time AS at, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '1 second') GROUP BY window_time HAVING count(*) > 1
)
SELECT window_start, count(*) AS busy_seconds FROM TUMBLE(seconds, at, INTERVAL '10 seconds') GROUP BY window_start;

/* test
rows clicks
  | ts         |
  | 00:00:01.1 |
  | 00:00:01.2 |
  | 00:00:02   |
  | 00:00:12   |
watermark clicks 00:00:10
expect
  | window_start | busy_seconds |
  | 00:00:00     | 1            |
end
*/
