-- Steps that begin together are one group by window_start: a row counts once for each that it is in.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW by_start AS
SELECT window_start, sum(n) AS s FROM CUMULATE(clicks, ts, INTERVAL '4 seconds', INTERVAL '12 seconds')
GROUP BY window_start;

/* test
rows clicks
  | n  | ts       |
  | 1  | 00:00:01 |
  | 10 | 00:00:09 |
watermark clicks 00:00:11.999
watermark clicks 00:00:12
expect
  | window_start | s  |
  | 00:00:00     | 13 |
end
*/
