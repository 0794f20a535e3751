-- 0.0 and -0.0 are one key.

CREATE TABLE clicks (x DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW v AS
SELECT x, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
GROUP BY window_start, x;

/* test
rows clicks
  | x    | ts       |
  | 0.0  | 00:00:01 |
  | -0.0 | 00:00:02 |
  | 1    | 00:00:03 |
end
expect
  | c |
  | 2 |
  | 1 |
*/
