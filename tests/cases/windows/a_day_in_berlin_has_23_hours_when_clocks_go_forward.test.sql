-- Of a day in a time zone that clocks shorten, the window is as long as the day.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW days AS
SELECT window_start, window_end, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '1 day', 'Europe/Berlin')
GROUP BY window_start, window_end;

/* test
rows clicks
  | ts                  |
  | 2026-03-28 22:59:59 |
  | 2026-03-28 23:00:00 |
  | 2026-03-29 21:59:59 |
  | 2026-03-29 22:00:00 |
watermark clicks 2026-03-29 22:00:00
expect
  | window_start        | window_end          | c |
  | 2026-03-27 23:00:00 | 2026-03-28 23:00:00 | 1 |
  | 2026-03-28 23:00:00 | 2026-03-29 22:00:00 | 2 |
end
expect
  | window_start        | window_end          | c |
  | 2026-03-29 22:00:00 | 2026-03-30 22:00:00 | 1 |
*/
