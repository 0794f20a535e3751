-- Where midnight itself is skipped, the day begins when it can, and every row is in one day.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW days AS
SELECT window_start, window_end, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '1 day', 'America/Santiago')
GROUP BY window_start, window_end;

/* test
rows clicks
  | ts                  |
  | 2024-09-08 03:59:59 |
  | 2024-09-08 04:00:00 |
end
expect
  | window_start        | window_end          | c |
  | 2024-09-07 04:00:00 | 2024-09-08 04:00:00 | 1 |
  | 2024-09-08 04:00:00 | 2024-09-09 03:00:00 | 1 |
*/
