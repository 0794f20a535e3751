-- A row that missed a step of a CUMULATE is in all later steps of its window.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW so_far AS
SELECT window_start, window_end, sum(n) AS s
FROM CUMULATE(clicks, ts, INTERVAL '4 seconds', INTERVAL '12 seconds')
GROUP BY window_start, window_end;

/* test
not at once: a late row counts in the steps that are still open
rows clicks
  | n | ts       |
  | 1 | 00:00:01 |
watermark clicks 00:00:05
expect
  | window_start | window_end | s |
  | 00:00:00     | 00:00:04   | 1 |
rows clicks
  | n | ts       |
  | 2 | 00:00:02 |
late
  | n | missed_from | missed_to | wholly |
  | 2 | 00:00:00    | 00:00:04  | false  |
end
expect
  | window_start | window_end | s |
  | 00:00:00     | 00:00:08   | 3 |
  | 00:00:00     | 00:00:12   | 3 |
*/
