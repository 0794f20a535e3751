-- After its last step a CUMULATE forgets what came before.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW so_far AS
SELECT window_start, window_end, sum(n) AS s
FROM CUMULATE(clicks, ts, INTERVAL '4 seconds', INTERVAL '12 seconds')
GROUP BY window_start, window_end;

/* test
rows clicks
  | n | ts       |
  | 1 | 00:00:11 |
  | 2 | 00:00:12 |
end
expect
  | window_start | window_end | s |
  | 00:00:00     | 00:00:12   | 1 |
  | 00:00:12     | 00:00:16   | 2 |
  | 00:00:12     | 00:00:20   | 2 |
  | 00:00:12     | 00:00:24   | 2 |
*/
