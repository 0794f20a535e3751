-- A day with an offset begins so many hours later in UTC, in summer as in winter.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT window_start, window_end, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '1 day', INTERVAL '-2 hours')
GROUP BY window_start, window_end;

/* test
rows clicks
  | ts                  |
  | 2026-03-28 21:59:59 |
  | 2026-03-28 22:00:00 |
  | 2026-03-29 21:59:59 |
end
expect
  | window_start        | window_end          | c |
  | 2026-03-27 22:00:00 | 2026-03-28 22:00:00 | 1 |
  | 2026-03-28 22:00:00 | 2026-03-29 22:00:00 | 2 |
*/
