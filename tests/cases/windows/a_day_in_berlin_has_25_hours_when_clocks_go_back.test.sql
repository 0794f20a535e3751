-- Of a day in a time zone that clocks lengthen, the window is as long as the day.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW days AS
SELECT window_start, window_end, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '1 day', 'Europe/Berlin')
GROUP BY window_start, window_end;

/* test
day 2026-10-25
rows clicks
  | ts                  |
  | 2026-10-24 22:00:00 |
  | 22:59:59            |
  | 23:00:00            |
watermark clicks 22:59:59.999
watermark clicks 23:00:00
expect
  | window_start        | window_end | c |
  | 2026-10-24 22:00:00 | 23:00:00   | 2 |
end
expect
  | window_start | window_end          | c |
  | 23:00:00     | 2026-10-26 23:00:00 | 1 |
*/
