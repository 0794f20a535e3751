-- Silence closes the inner windows and the outer ones above them.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW busiest AS
WITH seconds AS (
  SELECT window_time AS at, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '1 second') GROUP BY window_time
)
SELECT window_start, max(c) AS most FROM TUMBLE(seconds, at, INTERVAL '1 minute') GROUP BY window_start
EMIT TIMEOUT INTERVAL '3 seconds';

/* test
rows clicks
  | ts         |
  | 00:00:01.2 |
  | 00:00:01.7 |
  | 00:00:05   |
silence 3 seconds
expect
  | window_start | most |
  | 00:00:00     | 2    |
end
*/
