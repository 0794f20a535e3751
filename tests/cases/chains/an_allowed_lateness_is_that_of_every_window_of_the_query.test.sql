-- Inner and outer windows wait for late rows alike, and the outer ones lose none.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW busiest WITH ('allowed-lateness' = '5 seconds') AS
WITH seconds AS (SELECT window_time AS at, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '1 second') GROUP BY window_time)
SELECT window_start, sum(c) AS c FROM TUMBLE(seconds, at, INTERVAL '10 seconds') GROUP BY window_start;

/* test
rows clicks
  | ts         |
  | 00:00:09.5 |
watermark clicks 00:00:12
rows clicks
  | ts         |
  | 00:00:09.1 |
watermark clicks 00:00:19.999
watermark clicks 00:00:20
expect
  | window_start | c |
  | 00:00:00     | 2 |
end
*/
