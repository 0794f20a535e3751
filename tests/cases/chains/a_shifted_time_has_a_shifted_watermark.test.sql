-- A window over ts + 1 hour closes when the watermark of ts has passed its end by an hour less.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT window_start, count(*) AS c
FROM TUMBLE((SELECT ts + INTERVAL '1 hour' AS t FROM clicks), t, INTERVAL '10 seconds')
GROUP BY window_start;

/* test
rows clicks
  | ts       |
  | 00:00:01 |
watermark clicks 00:00:09.999
watermark clicks 00:00:10
expect
  | window_start | c |
  | 01:00:00     | 1 |
end
*/
