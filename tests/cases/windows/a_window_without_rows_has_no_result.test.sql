-- Windows in which nothing came are not in the result, however far the watermark goes.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT window_start, window_end, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end;

/* test
watermark clicks 00:00:30
rows clicks
  | ts       |
  | 00:00:55 |
watermark clicks 00:01:00
expect
  | window_start | window_end | c |
  | 00:00:50     | 00:01:00   | 1 |
watermark clicks 00:09:00
end
*/
