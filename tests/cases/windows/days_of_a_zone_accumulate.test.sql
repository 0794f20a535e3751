-- A CUMULATE by days of a time zone closes a step at each midnight there.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW week AS
SELECT window_end, count(*) AS c
FROM CUMULATE(clicks, ts, INTERVAL '1 day', INTERVAL '7 days', 'Europe/Berlin')
GROUP BY window_end;

/* test
rows clicks
  | ts                  |
  | 2024-03-30 12:00:00 |
  | 2024-03-31 12:00:00 |
watermark clicks 2024-03-31 22:00:00
expect
  | window_end          | c |
  | 2024-03-30 23:00:00 | 1 |
  | 2024-03-31 22:00:00 | 2 |
end
expect
  | window_end          | c |
  | 2024-04-01 22:00:00 | 2 |
  | 2024-04-02 22:00:00 | 2 |
  | 2024-04-03 22:00:00 | 2 |
*/
