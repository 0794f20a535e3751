-- A window before 1970 begins at a multiple of its length, too.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT window_start, window_end, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end;

/* test
rows clicks
  | ts                      |
  | 1969-12-31 23:59:59.999 |
  | 1969-12-31 23:59:50     |
  | 1969-12-31 23:59:49     |
watermark clicks 1969-12-31 23:59:59.999
expect
  | window_start        | window_end          | c |
  | 1969-12-31 23:59:40 | 1969-12-31 23:59:50 | 1 |
watermark clicks 00:00:00
expect
  | window_start        | window_end | c |
  | 1969-12-31 23:59:50 | 00:00:00   | 2 |
end
*/
