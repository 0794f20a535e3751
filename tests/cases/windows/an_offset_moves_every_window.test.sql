-- An offset moves the windows by so much, and a negative one back.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT window_start, window_end, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds', INTERVAL '3 seconds')
GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW moved_back AS
SELECT window_start, window_end, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds', INTERVAL '-7 seconds')
GROUP BY window_start, window_end;

/* test
rows clicks
  | ts       |
  | 00:00:02 |
  | 00:00:03 |
  | 00:00:12 |
watermark clicks 00:00:03
expect counts
  | window_start        | window_end | c |
  | 1969-12-31 23:59:53 | 00:00:03   | 1 |
expect moved_back
  | window_start        | window_end | c |
  | 1969-12-31 23:59:53 | 00:00:03   | 1 |
end
expect counts
  | window_start | window_end | c |
  | 00:00:03     | 00:00:13   | 2 |
expect moved_back
  | window_start | window_end | c |
  | 00:00:03     | 00:00:13   | 2 |
*/
