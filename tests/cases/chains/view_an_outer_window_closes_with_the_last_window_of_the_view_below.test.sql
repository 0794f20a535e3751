-- A window over a view closes at the watermark at which the view's last window in it does, and has that window's rows.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW seconds AS
SELECT window_time AS at, page, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '1 second')
GROUP BY window_time, page;

CREATE MATERIALIZED VIEW busiest AS
SELECT window_start, page, max(c) AS most, sum(c) AS clicks
FROM TUMBLE(seconds, at, INTERVAL '10 seconds')
GROUP BY window_start, page;

/* test
rows clicks
  | page | ts         |
  | a    | 00:00:01.1 |
  | a    | 00:00:09.1 |
  | a    | 00:00:09.2 |
  | b    | 00:00:09.9 |
watermark clicks 00:00:09.999
expect seconds
  | at           | page | c |
  | 00:00:01.999 | a    | 1 |
watermark clicks 00:00:10
expect seconds
  | at           | page | c |
  | 00:00:09.999 | a    | 2 |
  | 00:00:09.999 | b    | 1 |
expect busiest
  | window_start | page | most | clicks |
  | 00:00:00     | a    | 2    | 3      |
  | 00:00:00     | b    | 1    | 1      |
end
*/
