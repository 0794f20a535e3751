-- Windows are half-open: a row at a window's end is in the next one, a row a tick before is not.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT window_start, window_end, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end;

/* test
rows clicks
  | ts           |
  | 00:00:00     |
  | 00:00:09.999 |
  | 00:00:10     |
end
expect
  | window_start | window_end | c |
  | 00:00:00     | 00:00:10   | 2 |
  | 00:00:10     | 00:00:20   | 1 |
*/
