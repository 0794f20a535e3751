-- Windows of seven seconds follow one another from 1970-01-01 on, wherever minutes begin.

CREATE TABLE clicks (page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT window_start, window_end, count(*) AS c
FROM TUMBLE(clicks, ts, INTERVAL '7 seconds')
GROUP BY window_start, window_end;

/* test
rows clicks
  | ts       |
  | 00:00:13 |
  | 00:00:14 |
  | 00:00:59 |
  | 00:01:02 |
  | 00:01:03 |
end
expect
  | window_start | window_end | c |
  | 00:00:07     | 00:00:14   | 1 |
  | 00:00:14     | 00:00:21   | 1 |
  | 00:00:56     | 00:01:03   | 2 |
  | 00:01:03     | 00:01:10   | 1 |
*/
